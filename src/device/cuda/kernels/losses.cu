// Elementwise losses: sigmoid cross entropy and smooth L1, computed in double, as on the CPU, since they process few
// numbers per image. The forward pass writes one sum per block, and `total` adds them.
#include "elements.cuh"
#include "fixed_sums.cuh"

__device__ double bce(double x, double t) { return rectify(x) - x * t + log1p(exp(-fabs(x))); }

__device__ double sigmoid(double x) {
  const double e = exp(-fabs(x));
  return x < 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
}

// Entries with mask 0 are ignored; the mask may be null.
template <typename T> __device__ void bce_sums(const T* x, const T* t, const T* mask, double* sums, long long n) {
  double sum = 0.0;
  FOR_RUN(i, n) if (mask == nullptr || mask[i] != T(0)) sum += bce(x[i], t[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <typename T>
__device__ void bce_gradient(const T* x, const T* t, const T* mask, const T* dloss, T* dx, double divisor, long long n) {
  const double scale = *dloss / divisor;
  FOR_ELEMENTS(i, n) {
    const bool counts = mask == nullptr || mask[i] != T(0);
    dx[i] = counts ? T((sigmoid(x[i]) - (double)t[i]) * scale) : T(0);
  }
}

// w·(p − t); 0 for weight 0 even if p or t is NaN.
__device__ double difference(double p, double t, double w) { return w == 0.0 ? 0.0 : w * (p - t); }

template <typename T>
__device__ void smooth_l1_sums(const T* p, const T* t, const T* w, double* sums, long long n) {
  double sum = 0.0;
  FOR_RUN(i, n) {
    const double size = fabs(difference(p[i], t[i], w[i]));
    sum += size < 1.0 ? 0.5 * size * size : size - 0.5;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <typename T>
__device__ void smooth_l1_gradient(
    const T* p, const T* t, const T* w, const T* dloss, T* dp, double divisor, long long n) {
  const double scale = *dloss / divisor;
  FOR_ELEMENTS(i, n) {
    const double d = difference(p[i], t[i], w[i]);
    const double slope = d < -1.0 ? -1.0 : d > 1.0 ? 1.0 : d; // propagates NaN
    dp[i] = w[i] == T(0) ? T(0) : T((double)w[i] * slope * scale);
  }
}

// One block: the total of the forward pass's block sums, divided by the divisor.
template <typename T> __device__ void total(const double* sums, T* y, double divisor, int count) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *y = T(sum / divisor);
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void bce_sums_##name(const T* x, const T* t, const T* mask, double* sums, long long n) {       \
    bce_sums(x, t, mask, sums, n);                                                                                     \
  }                                                                                                                    \
  extern "C" __global__ void bce_gradient_##name(                                                                      \
      const T* x, const T* t, const T* mask, const T* dloss, T* dx, double divisor, long long n) {                     \
    bce_gradient(x, t, mask, dloss, dx, divisor, n);                                                                   \
  }                                                                                                                    \
  extern "C" __global__ void smooth_l1_sums_##name(const T* p, const T* t, const T* w, double* sums, long long n) {    \
    smooth_l1_sums(p, t, w, sums, n);                                                                                  \
  }                                                                                                                    \
  extern "C" __global__ void smooth_l1_gradient_##name(                                                                \
      const T* p, const T* t, const T* w, const T* dloss, T* dp, double divisor, long long n) {                        \
    smooth_l1_gradient(p, t, w, dloss, dp, divisor, n);                                                                \
  }                                                                                                                    \
  extern "C" __global__ void total_##name(const double* sums, T* y, double divisor, int count) {                       \
    total(sums, y, divisor, count);                                                                                    \
  }
FOR_EACH_WIDE_TYPE(DEFINE)
