// The kernels as XLA custom calls. Buffers come from XLA, which has checked
// their types; shapes are checked here.

#include "attention.h"
#include "product.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

chatjax::Pool PoolOf(ffi::ThreadPool& pool) {
  return {.num_threads = pool.num_threads(),
          .schedule = [&pool](std::function<void()> task) {
            pool.Schedule(std::move(task));
          }};
}

ffi::Error Int8Product(ffi::ThreadPool pool, int32_t isa,
                       ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::PRED> live,
                       ffi::Buffer<ffi::U8> w, ffi::Buffer<ffi::F32> sw,
                       ffi::ResultBuffer<ffi::F32> y) {
  const auto dims = x.dimensions();
  const int64_t T = dims[0], K = dims[1], N = y->dimensions()[1];
  const int64_t groups = (K + chatjax::kGroup - 1) / chatjax::kGroup;
  const int64_t blocks = (N + chatjax::kBlock - 1) / chatjax::kBlock;
  const size_t weights = blocks * groups * chatjax::kGroup * chatjax::kBlock;
  if (w.element_count() != weights ||
      sw.element_count() != weights / chatjax::kGroup ||
      live.element_count() != static_cast<size_t>(T) ||
      y->dimensions()[0] != T) {
    return ffi::Error::InvalidArgument("int8 product: shapes do not agree");
  }
  const auto path = isa < 0 ? chatjax::BestIsa() : chatjax::Isa{isa};
  if (!chatjax::IsSupported(path)) {
    return ffi::Error::InvalidArgument("int8 product: no such path here");
  }
  chatjax::Run({.T = T, .K = K, .N = N,
                .x = x.typed_data(), .live = live.typed_data(),
                .w = w.typed_data(), .sw = sw.typed_data(),
                .y = y->typed_data(), .isa = path},
               PoolOf(pool));
  return ffi::Error::Success();
}

// Keys and values come as they are stored; scales are there beside int8 only,
// else they have no elements.
ffi::Error PagedAttention(ffi::ThreadPool pool, int32_t isa, int64_t window,
                          ffi::Buffer<ffi::F32> q, ffi::AnyBuffer k,
                          ffi::AnyBuffer v, ffi::Buffer<ffi::F32> k_scale,
                          ffi::Buffer<ffi::F32> v_scale,
                          ffi::Buffer<ffi::S32> tables,
                          ffi::Buffer<ffi::S32> positions,
                          ffi::Buffer<ffi::PRED> live,
                          ffi::ResultBuffer<ffi::F32> out) {
  using chatjax::Element;
  const auto q_dims = q.dimensions(), k_dims = k.dimensions();
  const int64_t T = q_dims[0], K = q_dims[1], G = q_dims[2], H = q_dims[3];
  const int64_t pages = k_dims[0], S = k_dims[3];
  const auto table_dims = tables.dimensions();
  const bool is_int8 = k.element_type() == ffi::S8;
  const size_t scales = is_int8 ? pages * K * S : 0;
  if (k_dims[1] != K || k_dims[2] != H ||
      v.element_count() != k.element_count() ||
      v.element_type() != k.element_type() ||
      k_scale.element_count() != scales || v_scale.element_count() != scales ||
      (table_dims[0] != 1 && table_dims[0] != T) ||
      positions.element_count() != static_cast<size_t>(T) ||
      live.element_count() != static_cast<size_t>(T) ||
      out->element_count() != q.element_count()) {
    return ffi::Error::InvalidArgument("attention: shapes do not agree");
  }
  Element type = Element::kInt8;
  if (k.element_type() == ffi::F32) type = Element::kFloat32;
  else if (k.element_type() == ffi::BF16) type = Element::kBfloat16;
  else if (!is_int8)
    return ffi::Error::InvalidArgument("attention: no such cache type");
  const auto path = isa < 0 ? chatjax::BestIsa() : chatjax::Isa{isa};
  if (!chatjax::IsSupported(path)) {
    return ffi::Error::InvalidArgument("attention: no such path here");
  }
  chatjax::Run({.T = T, .K = K, .G = G, .H = H, .S = S, .P = table_dims[1],
                .num_tables = table_dims[0], .window = window,
                .q = q.typed_data(), .type = type,
                .k = k.untyped_data(), .v = v.untyped_data(),
                .k_scale = is_int8 ? k_scale.typed_data() : nullptr,
                .v_scale = is_int8 ? v_scale.typed_data() : nullptr,
                .tables = tables.typed_data(),
                .positions = positions.typed_data(),
                .live = live.typed_data(),
                .out = out->typed_data(), .isa = path},
               PoolOf(pool));
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(ChatjaxAttention, PagedAttention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("isa")
                                  .Attr<int64_t>("window")
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(ChatjaxInt8Product, Int8Product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("isa")
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::Buffer<ffi::U8>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

extern "C" {

// Raised whenever a kernel's bits or arguments change.
int32_t ChatjaxKernelVersion() { return 1; }

int32_t ChatjaxBestIsa() { return static_cast<int32_t>(chatjax::BestIsa()); }

int32_t ChatjaxIsSupported(int32_t isa) {
  return chatjax::IsSupported(chatjax::Isa{isa});
}

}  // extern "C"
