// cuRAND of the stand-in: uniform and normal numbers from a host generator. Not the real sequence.
#include <memory>
#include <random>

#include "stand_in.h"

struct curandGenerator_st {
  CUstream_st* stream = nullptr;
  std::shared_ptr<std::mt19937_64> source = std::make_shared<std::mt19937_64>(0);
};

namespace {
enum Status { SUCCESS = 0, OUT_OF_RANGE = 104, LENGTH_NOT_MULTIPLE = 105 };

template <class T, class D>
int fill(curandGenerator_st* g, const char* who, T* out, size_t n, D distribution) {
  if (!stand_in_on_device(out, n * sizeof(T), who)) return OUT_OF_RANGE;
  auto source = g->source;
  stand_in_enqueue(g->stream, who, [=]() mutable {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<T>(distribution(*source));
  });
  return SUCCESS;
}

// Uniform numbers lie in (0, 1], normal ones come in pairs, as in the real library.
template <class T>
int uniform(curandGenerator_st* g, const char* who, T* out, size_t n) {
  return fill(g, who, out, n, [](std::mt19937_64& s) { return 1.0 - static_cast<double>(s() >> 40) * 0x1p-24; });
}
template <class T>
int normal(curandGenerator_st* g, const char* who, T* out, size_t n, T mean, T deviation) {
  if (n % 2) return LENGTH_NOT_MULTIPLE;
  return fill(g, who, out, n, std::normal_distribution<double>(mean, deviation));
}
}  // namespace

#define API extern "C" STAND_IN_API int
API curandCreateGenerator(curandGenerator_st** g, int) { *g = new curandGenerator_st; return SUCCESS; }
API curandDestroyGenerator(curandGenerator_st* g) { delete g; return SUCCESS; }
API curandSetStream(curandGenerator_st* g, CUstream_st* s) { g->stream = s; return SUCCESS; }
API curandSetPseudoRandomGeneratorSeed(curandGenerator_st* g, unsigned long long seed) {
  g->source = std::make_shared<std::mt19937_64>(seed);
  return SUCCESS;
}
API curandSetGeneratorOffset(curandGenerator_st* g, unsigned long long n) { g->source->discard(n); return SUCCESS; }
API curandGenerateUniform(curandGenerator_st* g, float* out, size_t n) { return uniform(g, "curandGenerateUniform", out, n); }
API curandGenerateUniformDouble(curandGenerator_st* g, double* out, size_t n) { return uniform(g, "curandGenerateUniformDouble", out, n); }
API curandGenerateNormal(curandGenerator_st* g, float* out, size_t n, float m, float d) { return normal(g, "curandGenerateNormal", out, n, m, d); }
API curandGenerateNormalDouble(curandGenerator_st* g, double* out, size_t n, double m, double d) { return normal(g, "curandGenerateNormalDouble", out, n, m, d); }
