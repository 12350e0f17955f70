// Elementwise losses: sigmoid cross entropy, smooth L1 and squared distance, computed in double, as on the CPU. The forward
// pass writes one sum per block, and `total` adds them. A loss is a struct of its `value` and its `slope` in the prediction.
#include "elements.cuh"
#include "fixed_sums.cuh"

struct Bce {
  __device__ static double value(double x, double t, double) { return rectify(x) - x * t + log1p(exp(-fabs(x))); }
  __device__ static double slope(double x, double t, double) {
    const double e = exp(-fabs(x));
    return (x < 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e)) - t;
  }
};

struct SmoothL1 {
  __device__ static double value(double p, double t, double w) {
    const double size = fabs(w * (p - t));
    return size < 1.0 ? 0.5 * size * size : size - 0.5;
  }
  __device__ static double slope(double p, double t, double w) {
    const double d = w * (p - t);
    return w * (d < -1.0 ? -1.0 : d > 1.0 ? 1.0 : d); // propagates NaN
  }
};

struct Squares {
  __device__ static double value(double p, double t, double w) { return w * (p - t) * (p - t); }
  __device__ static double slope(double p, double t, double w) { return 2.0 * w * (p - t); }
};

// The weights repeat after `period`; without any (null), all are 1. Entries of weight 0 are ignored, even NaN.
template <typename L, typename T>
__device__ void sums(const T* p, const T* t, const T* w, long long period, double* out, long long n) {
  double sum = 0.0;
  FOR_RUN(i, n) {
    const double weight = w == nullptr ? 1.0 : (double)w[i % period];
    if (weight != 0.0) sum += L::value(p[i], t[i], weight);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

template <typename L, typename T>
__device__ void gradient(
    const T* p, const T* t, const T* w, long long period, const T* dloss, T* dp, double divisor, long long n) {
  const double scale = *dloss / divisor;
  FOR_ELEMENTS(i, n) {
    const double weight = w == nullptr ? 1.0 : (double)w[i % period];
    dp[i] = weight == 0.0 ? T(0) : T(L::slope(p[i], t[i], weight) * scale);
  }
}

// One block: the total of the forward pass's block sums, divided by the divisor.
template <typename T> __device__ void total(const double* sums, T* y, double divisor, int count) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *y = T(sum / divisor);
}

#define DEFINE_LOSS(T, name, loss, L)                                                                                  \
  extern "C" __global__ void loss##_sums_##name(                                                                       \
      const T* p, const T* t, const T* w, long long period, double* out, long long n) {                                \
    sums<L>(p, t, w, period, out, n);                                                                                  \
  }                                                                                                                    \
  extern "C" __global__ void loss##_gradient_##name(                                                                   \
      const T* p, const T* t, const T* w, long long period, const T* dloss, T* dp, double divisor, long long n) {      \
    gradient<L>(p, t, w, period, dloss, dp, divisor, n);                                                               \
  }
#define DEFINE(T, name)                                                                                                \
  DEFINE_LOSS(T, name, bce, Bce)                                                                                       \
  DEFINE_LOSS(T, name, smooth_l1, SmoothL1)                                                                            \
  DEFINE_LOSS(T, name, squares, Squares)                                                                               \
  extern "C" __global__ void total_##name(const double* sums, T* y, double divisor, int count) {                       \
    total(sums, y, divisor, count);                                                                                    \
  }
FOR_EACH_WIDE_TYPE(DEFINE)
