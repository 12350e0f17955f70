// Softmax cross entropy of logits with sparse targets, one warp per row; exponentials in the logits' type, sums in
// double.
#include "elements.cuh"
#include "fixed_sums.cuh"

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }

// Maximum that propagates NaN.
template <typename T> __device__ __forceinline__ T larger(T x, T y) { return y > x || y != y ? y : x; }

// ln Σ exp(x) and the cross entropy of every row, (n, 2).
template <typename T>
__device__ void row_entropies(
    const T* x, const unsigned* classes, const double* shares, double* rows, long long n, int q, int k) {
  const long long row = warp_row();
  if (row >= n) return;
  const int lane = threadIdx.x % WARP;
  const T* logits = x + row * q;
  T highest = -INFINITY;
  for (int i = lane; i < q; i += WARP) highest = larger(highest, logits[i]);
  for (int step = WARP / 2; step > 0; step /= 2)
    highest = larger(highest, __shfl_xor_sync(ALL_LANES, highest, step));
  double sum = 0.0, dot = 0.0;
  for (int i = lane; i < q; i += WARP) sum += exponential(logits[i] - highest);
  for (int j = lane; j < k; j += WARP)
    dot += shares[row * k + j] * ((double)logits[classes[row * k + j]] - (double)highest);
  sum = log(warp_sum(sum));
  dot = warp_sum(dot);
  if (lane == 0) {
    rows[2 * row] = (double)highest + sum;
    rows[2 * row + 1] = sum - dot;
  }
}

// weight·dloss·(softmax(x) − target); 0 in rows of weight 0, even with NaN logits.
template <typename T>
__device__ void row_gradients(
    const T* x, const double* rows, const double* row_weights, const unsigned* classes, const double* shares,
    const T* dloss, T* dx, long long n, int q, int k) {
  const long long row = warp_row();
  if (row >= n) return;
  const int lane = threadIdx.x % WARP;
  const T *logits = x + row * q, lse = T(rows[2 * row]);
  T* out = dx + row * q;
  const double weight = row_weights[row], scale = weight * (double)*dloss;
  for (int i = lane; i < q; i += WARP) out[i] = weight == 0.0 ? T(0) : exponential(logits[i] - lse) * T(scale);
  if (weight == 0.0) return;
  __syncwarp(); // other lanes have written the elements of this row's classes
  for (int j = lane; j < k; j += WARP) out[classes[row * k + j]] -= T(shares[row * k + j] * scale);
}

// Per block: Σ weight·CE over rows of nonzero weight, Σ CE, and Σ of the targets' entropies, if given.
extern "C" __global__ void row_sums(
    const double* rows, const double* row_weights, const double* entropies, double* sums, long long n) {
  double weighted = 0.0, plain = 0.0, entropy = 0.0;
  FOR_RUN(i, n) {
    const double value = rows[2 * i + 1], weight = row_weights[i];
    if (weight != 0.0) weighted += weight * value;
    plain += value;
    if (entropies != nullptr) entropy += entropies[i];
  }
  weighted = block_sum(weighted);
  plain = block_sum(plain);
  entropy = block_sum(entropy);
  if (threadIdx.x == 0) {
    sums[3 * blockIdx.x] = weighted;
    sums[3 * blockIdx.x + 1] = plain;
    sums[3 * blockIdx.x + 2] = entropy;
  }
}

// One block: the totals of the three sums; row weights already include the scale.
extern "C" __global__ void row_totals(const double* sums, double* totals, double scale, int count) {
  for (int which = 0; which < 3; ++which) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += sums[3 * i + which];
    sum = block_sum(sum);
    if (threadIdx.x == 0) totals[which] = which == 0 ? sum : sum * scale;
  }
}

// Counts the labels that differ from `ignore`. Integer atomics, so the order does not matter.
extern "C" __global__ void count_labels(const unsigned* labels, unsigned* count, long long ignore, long long n) {
  unsigned mine = 0;
  FOR_RUN(i, n) mine += labels[i] != ignore;
  mine = block_sum(mine);
  if (threadIdx.x == 0) atomicAdd(count, mine);
}

// Converts labels to single-class targets with row weight 1 / count. An out-of-range label gets a NaN share, which
// propagates to the loss.
extern "C" __global__ void label_targets(
    const unsigned* labels, const unsigned* count, unsigned* classes, double* shares, double* row_weights,
    long long ignore, long long n, int q) {
  const double weight = 1.0 / (double)(*count > 0 ? *count : 1);
  FOR_ELEMENTS(i, n) {
    const unsigned label = labels[i];
    const bool counts = label != ignore, known = counts && label < (unsigned)q;
    classes[i] = known ? label : 0;
    shares[i] = counts && !known ? NAN : 1.0;
    row_weights[i] = counts ? weight : 0.0;
  }
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void row_entropies_##name(                                                                     \
      const T* x, const unsigned* classes, const double* shares, double* rows, long long n, int q, int k) {            \
    row_entropies(x, classes, shares, rows, n, q, k);                                                                  \
  }                                                                                                                    \
  extern "C" __global__ void row_gradients_##name(                                                                     \
      const T* x, const double* rows, const double* row_weights, const unsigned* classes, const double* shares,        \
      const T* dloss, T* dx, long long n, int q, int k) {                                                              \
    row_gradients(x, rows, row_weights, classes, shares, dloss, dx, n, q, k);                                          \
  }                                                                                                                    \
  extern "C" __global__ void loss_value_##name(const double* value, T* y) { *y = T(*value); }
FOR_EACH_WIDE_TYPE(DEFINE)
