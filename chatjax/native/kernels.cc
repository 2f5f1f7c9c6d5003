// The kernels as XLA custom calls. Buffers come from XLA, which has checked
// their types; shapes are checked here.

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

}  // namespace

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
