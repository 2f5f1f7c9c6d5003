// Includes the file CHATJAX_BODY in the namespace of each instruction set.

namespace chatjax::plain {
#include CHATJAX_BODY
}

#if defined(__x86_64__)

CHATJAX_BEGIN_TARGET("avx2,fma")
namespace chatjax::avx2 {
#include CHATJAX_BODY
}
CHATJAX_END_TARGET

CHATJAX_BEGIN_TARGET("avx512f")
namespace chatjax::avx512 {
#include CHATJAX_BODY
}
CHATJAX_END_TARGET

#elif defined(__aarch64__)

namespace chatjax::neon {
#include CHATJAX_BODY
}

#endif

#undef CHATJAX_BODY
