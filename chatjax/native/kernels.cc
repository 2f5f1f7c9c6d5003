// The kernels as XLA custom calls. Buffers come from XLA, which has checked
// their types; shapes are checked here.

#include "attention.h"
#include "float_product.h"
#include "gate.h"
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
  chatjax::Run(chatjax::Product{.T = T, .K = K, .N = N,
                .x = x.typed_data(), .live = live.typed_data(),
                .w = w.typed_data(), .sw = sw.typed_data(),
                .y = y->typed_data(), .isa = path},
               PoolOf(pool));
  return ffi::Error::Success();
}

ffi::Error FloatProduct(ffi::ThreadPool pool, int32_t isa,
                        ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::PRED> live,
                        ffi::AnyBuffer w, ffi::ResultBuffer<ffi::F32> y) {
  const auto x_dims = x.dimensions(), w_dims = w.dimensions();
  if (x_dims.size() != 2 || w_dims.size() != 2 || w_dims[1] != x_dims[1] ||
      live.element_count() != static_cast<size_t>(x_dims[0]) ||
      y->element_count() != static_cast<size_t>(x_dims[0] * w_dims[0])) {
    return ffi::Error::InvalidArgument("float product: shapes do not agree");
  }
  const bool is_bfloat16 = w.element_type() == ffi::BF16;
  if (!is_bfloat16 && w.element_type() != ffi::F32) {
    return ffi::Error::InvalidArgument("float product: no such weight type");
  }
  const auto path = isa < 0 ? chatjax::BestIsa() : chatjax::Isa{isa};
  if (!chatjax::IsSupported(path)) {
    return ffi::Error::InvalidArgument("float product: no such path here");
  }
  chatjax::Run(chatjax::FloatProduct{.T = x_dims[0], .K = x_dims[1],
                .N = w_dims[0], .x = x.typed_data(), .live = live.typed_data(),
                .is_bfloat16 = is_bfloat16, .w = w.untyped_data(),
                .y = y->typed_data(), .isa = path},
               PoolOf(pool));
  return ffi::Error::Success();
}

ffi::Error GatedActivation(ffi::ThreadPool pool, int32_t isa,
                           int32_t activation, ffi::Buffer<ffi::F32> x,
                           ffi::Buffer<ffi::PRED> live,
                           ffi::ResultBuffer<ffi::F32> out) {
  const auto dims = x.dimensions();
  if (dims.size() != 3 || dims[1] != 2 ||
      out->element_count() * 2 != x.element_count() ||
      live.element_count() != static_cast<size_t>(dims[0])) {
    return ffi::Error::InvalidArgument("gate: shapes do not agree");
  }
  const auto path = isa < 0 ? chatjax::BestIsa() : chatjax::Isa{isa};
  if (!chatjax::IsSupported(path)) {
    return ffi::Error::InvalidArgument("gate: no such path here");
  }
  chatjax::Run(chatjax::Gate{.T = dims[0], .F = dims[2],
                .activation = chatjax::Activation{activation},
                .x = x.typed_data(), .live = live.typed_data(),
                .out = out->typed_data(), .isa = path},
               PoolOf(pool));
  return ffi::Error::Success();
}

// The pages come as they are stored and are written in place: the last four
// results are the same memory as their arguments. Scales are there beside int8
// only, else they have no elements.
ffi::Error PagedAttention(
    ffi::ThreadPool pool, int32_t isa, int64_t window, float scale,
    ffi::Buffer<ffi::F32> q, ffi::Buffer<ffi::F32> new_k,
    ffi::Buffer<ffi::F32> new_v, ffi::Buffer<ffi::F32> cos,
    ffi::Buffer<ffi::F32> sin,
    ffi::Buffer<ffi::S32> tables, ffi::Buffer<ffi::S32> positions,
    ffi::Buffer<ffi::PRED> live, ffi::AnyBuffer k, ffi::AnyBuffer v,
    ffi::Buffer<ffi::F32> k_scale, ffi::Buffer<ffi::F32> v_scale,
    ffi::ResultBuffer<ffi::F32> out, ffi::Result<ffi::AnyBuffer> k_out,
    ffi::Result<ffi::AnyBuffer> v_out, ffi::ResultBuffer<ffi::F32> k_scale_out,
    ffi::ResultBuffer<ffi::F32> v_scale_out) {
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
      new_k.element_count() != static_cast<size_t>(T * K * H) ||
      new_v.element_count() != new_k.element_count() ||
      cos.element_count() != static_cast<size_t>(T * H / 2) ||
      sin.element_count() != cos.element_count() ||
      out->element_count() != q.element_count()) {
    return ffi::Error::InvalidArgument("attention: shapes do not agree");
  }
  if (k_out->untyped_data() != k.untyped_data() ||
      v_out->untyped_data() != v.untyped_data() ||
      k_scale_out->untyped_data() != k_scale.untyped_data() ||
      v_scale_out->untyped_data() != v_scale.untyped_data()) {
    return ffi::Error::Internal("attention: the pages are not in place");
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
  chatjax::Run(chatjax::Attention{.T = T, .K = K, .G = G, .H = H, .S = S, .P = table_dims[1],
                .num_tables = table_dims[0], .window = window,
                .scale = scale, .q = q.typed_data(),
                .cos = cos.typed_data(), .sin = sin.typed_data(),
                .type = type, .new_k = new_k.typed_data(), .new_v = new_v.typed_data(),
                .k = k_out->untyped_data(), .v = v_out->untyped_data(),
                .k_scale = is_int8 ? k_scale_out->typed_data() : nullptr,
                .v_scale = is_int8 ? v_scale_out->typed_data() : nullptr,
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
                                  .Attr<float>("scale")
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(ChatjaxGate, GatedActivation,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("isa")
                                  .Attr<int32_t>("activation")
                                  .Arg<ffi::Buffer<ffi::F32>>()
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(ChatjaxFloatProduct, FloatProduct,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("isa")
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

extern "C" {

// Raised whenever a kernel's bits or arguments change.
int32_t ChatjaxKernelVersion() { return 4; }

int32_t ChatjaxBestIsa() { return static_cast<int32_t>(chatjax::BestIsa()); }

int32_t ChatjaxIsSupported(int32_t isa) {
  return chatjax::IsSupported(chatjax::Isa{isa});
}

}  // extern "C"
