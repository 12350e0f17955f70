// Batch normalization of an (m, C) matrix: row reductions, tables and running statistics, and the two elementwise
// passes. Sums are float over 16 rows and double beyond (double throughout for double inputs). The row partition
// depends only on the shape, and partial sums are added in order.
//
// The tables are double, (C) each: mean and 1/σ.
#include "packs.cuh"

// Rows per thread summed in Sum<T> before adding to the double sum.
constexpr int SHORT_RUN = 16;
// Threads per block of row reductions.
constexpr int THREADS = 256;
// Edge of the block that adds partial sums: channels × parts.
constexpr int JOIN = 32;

// Two sums per channel over the block's rows, stored in parts (gridDim / tiles, 2, C). add(row's offset, s0, s1) adds
// one row.
template <typename S, int N, typename Add>
__device__ void sum_rows(double* parts, int m, int channels, int tiles, int rows_of_part, Add add) {
  __shared__ double sums[2][THREADS][N];
  const int part = blockIdx.x / tiles, c = first_channel<N>(blockIdx.x % tiles);
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int end = min(m, (part + 1) * rows_of_part);
  double t0[N] = {}, t1[N] = {};
  int row = part * rows_of_part + threadIdx.y;
  while (c < channels && row < end) {
    S s0[N] = {}, s1[N] = {};
#pragma unroll 4
    for (int i = 0; i < SHORT_RUN && row < end; i++, row += blockDim.y) add((long long)row * channels, s0, s1);
#pragma unroll
    for (int n = 0; n < N; n++) t0[n] += s0[n], t1[n] += s1[n];
  }
  for (int n = 0; n < N; n++) sums[0][thread][n] = t0[n], sums[1][thread][n] = t1[n];
  __syncthreads();
  if (threadIdx.y != 0 || c >= channels) return;
  for (int which = 0; which < 2; which++)
    for (int n = 0; n < N; n++) {
      double sum = 0;
      for (int y = 0; y < blockDim.y; y++) sum += sums[which][y * blockDim.x + threadIdx.x][n];
      parts[((long long)part * 2 + which) * channels + c + n] = sum;
    }
}

// Σ (x − shift) and Σ (x − shift)² of each channel, with the first row as shift, so that a large common offset does
// not cancel digits.
template <typename T, int N>
__device__ void moments(const T* x, double* parts, int m, int channels, int tiles, int rows_of_part) {
  using S = Sum<T>;
  const int c = first_channel<N>(blockIdx.x % tiles);
  S shift[N] = {};
  if (c < channels) load_pack<N>(x + c, shift);
  sum_rows<S, N>(parts, m, channels, tiles, rows_of_part, [&](long long row, S(&s0)[N], S(&s1)[N]) {
    S v[N];
    load_pack<N>(x + row + c, v);
#pragma unroll
    for (int n = 0; n < N; n++) {
      S d = v[n] - shift[n];
      s0[n] += d;
      s1[n] = fma(d, d, s1[n]);
    }
  });
}

// Per-thread channel constants.
template <typename S, int N> struct Channels {
  S mean[N], scale[N], shift[N];

  // γ and β may be null (1 and 0).
  __device__ Channels(const double* means, const double* inv_std, const S* gamma, const S* beta, int c) {
#pragma unroll
    for (int n = 0; n < N; n++) {
      mean[n] = means[c + n];
      scale[n] = (S)inv_std[c + n] * (gamma ? gamma[c + n] : S(1));
      shift[n] = beta ? beta[c + n] : S(0);
    }
  }

  // The pre-activation for d = x − mean; forward and backward must round identically.
  __device__ __forceinline__ S affine(int n, S d) const { return fma(d, scale[n], shift[n]); }
};

template <typename T, int N>
__device__ void normalize(const T* x, const double* mean, const double* inv_std, const Sum<T>* gamma, const Sum<T>* beta, T* y, int m,
                          int channels, int tiles, int relu) {
  using S = Sum<T>;
  const int c = first_channel<N>(blockIdx.x % tiles);
  if (c >= channels) return;
  const Channels<S, N> of(mean, inv_std, gamma, beta, c);
  const int step = gridDim.x / tiles * blockDim.y;
  for (int row = blockIdx.x / tiles * blockDim.y + threadIdx.y; row < m; row += step) {
    const long long at = (long long)row * channels + c;
    S v[N];
    load_pack<N>(x + at, v);
#pragma unroll
    for (int n = 0; n < N; n++) {
      S a = of.affine(n, v[n] - of.mean[n]);
      v[n] = relu ? rectify(a) : a;
    }
    store_pack<N>(v, y + at);
  }
}

// Σ dy and Σ dy·(x − mean) per channel, with dy masked by the ReLU, if any.
template <typename T, int N>
__device__ void gradient_sums(const T* x, const T* dy, const double* mean, const double* inv_std, const Sum<T>* gamma, const Sum<T>* beta,
                              double* parts, int m, int channels, int tiles, int rows_of_part, int relu) {
  using S = Sum<T>;
  const int c = first_channel<N>(blockIdx.x % tiles);
  const Channels<S, N> of(mean, inv_std, gamma, beta, min(c, channels - N));
  sum_rows<S, N>(parts, m, channels, tiles, rows_of_part, [&](long long row, S(&s0)[N], S(&s1)[N]) {
    S v[N], g[N];
    load_pack<N>(x + row + c, v);
    load_pack<N>(dy + row + c, g);
#pragma unroll
    for (int n = 0; n < N; n++) {
      S d = v[n] - of.mean[n];
      S open = relu ? gate(of.affine(n, d), g[n]) : g[n];
      s0[n] += open;
      s1[n] = fma(open, d, s1[n]);
    }
  });
}

// dx = γ/σ·(dy − mean dy − (x − mean)/σ²·mean(dy·(x − mean))) for batch statistics (gradient sums not null); γ/σ·dy
// for fixed statistics.
template <typename T, int N>
__device__ void input_gradient(const T* x, const T* dy, const double* mean, const double* inv_std, const Sum<T>* gamma, const Sum<T>* beta,
                               const double* sums, T* dx, int m, int channels, int tiles, int relu) {
  using S = Sum<T>;
  const int c = first_channel<N>(blockIdx.x % tiles);
  if (c >= channels) return;
  const Channels<S, N> of(mean, inv_std, gamma, beta, c);
  S constant[N] = {}, slope[N] = {};
  for (int n = 0; sums && n < N; n++) {
    const double inverse = (S)inv_std[c + n];
    constant[n] = sums[c + n] / m;
    slope[n] = sums[channels + c + n] / m * inverse * inverse;
  }
  const int step = gridDim.x / tiles * blockDim.y;
  for (int row = blockIdx.x / tiles * blockDim.y + threadIdx.y; row < m; row += step) {
    const long long at = (long long)row * channels + c;
    S v[N], g[N];
    load_pack<N>(x + at, v);
    load_pack<N>(dy + at, g);
#pragma unroll
    for (int n = 0; n < N; n++) {
      S d = v[n] - of.mean[n];
      S open = relu ? gate(of.affine(n, d), g[n]) : g[n];
      g[n] = of.scale[n] * (open - constant[n] - d * slope[n]);
    }
    store_pack<N>(g, dx + at);
  }
}

// Both sums of this thread's channel over all parts: each thread row adds every JOIN-th part, then the first row adds
// the rows' sums. Only the first row has the result.
__device__ void join(const double* parts, int count, int channels, double (&joined)[2]) {
  __shared__ double sums[2][JOIN][JOIN];
  const int c = blockIdx.x * JOIN + threadIdx.x;
  for (int which = 0; which < 2; which++) {
    double sum = 0;
    for (int part = threadIdx.y; c < channels && part < count; part += JOIN)
      sum += parts[((long long)part * 2 + which) * channels + c];
    sums[which][threadIdx.y][threadIdx.x] = sum;
  }
  __syncthreads();
  for (int which = 0; which < 2; which++) {
    joined[which] = 0;
    for (int y = 0; threadIdx.y == 0 && y < JOIN; y++) joined[which] += sums[which][y][threadIdx.x];
  }
}

extern "C" __global__ void batch_norm_join_sums(const double* parts, double* sums, int count, int channels) {
  const int c = blockIdx.x * JOIN + threadIdx.x;
  double joined[2];
  join(parts, count, channels, joined);
  if (threadIdx.y != 0 || c >= channels) return;
  sums[c] = joined[0];
  sums[channels + c] = joined[1];
}

// Mean and biased variance (2, C) from the partial sums of `moments`; x provides the first row.
template <typename T>
__device__ void statistics(const double* parts, const T* x, double* statistics, int count, int m, int channels) {
  const int c = blockIdx.x * JOIN + threadIdx.x;
  double joined[2];
  join(parts, count, channels, joined);
  if (threadIdx.y != 0 || c >= channels) return;
  const double offset = joined[0] / m, var = joined[1] / m - offset * offset;
  statistics[c] = (double)load(x[c]) + offset;
  statistics[channels + c] = var < 0 ? 0 : var;  // max would turn NaN into 0
}

// The tables of fixed statistics.
template <typename R> __device__ void fixed(const R* mean, const R* var, double* tables, int channels, double eps) {
  FOR_ELEMENTS(c, channels) {
    tables[c] = mean[c];
    tables[channels + c] = 1 / sqrt((double)var[c] + eps);
  }
}

// Computes the tables of batch statistics (2, C) and updates the running statistics: with `keep` and `take`
// (PyTorch's rule), or with factors from the accumulated weight, which is updated too (Caffe's rule with fraction
// `keep`). One block, so that all threads read the old weight before one writes the new one.
template <typename R>
__device__ void moved(const double* statistics, R* mean, R* var, R* weight, double* tables, int channels, double keep,
                      double take, double unbiased, double eps, int caffe) {
  if (caffe) {
    const double kept = keep * (double)*weight, gathered = kept + 1;
    keep = kept / gathered;
    take = 1 / gathered;
    __syncthreads();
    if (threadIdx.x == 0) *weight = gathered;
  }
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    const double batch = statistics[c], spread = statistics[channels + c];
    tables[c] = batch;
    tables[channels + c] = 1 / sqrt(spread + eps);
    mean[c] = (double)mean[c] * keep + batch * take;
    var[c] = (double)var[c] * keep + spread * (take * unbiased);
  }
}

#define DEFINE_PACKED(T, name, N)                                                                                      \
  extern "C" __global__ void batch_norm_moments_##name(const T* x, double* parts, int m, int channels, int tiles,      \
                                                       int rows_of_part) {                                             \
    moments<T, N>(x, parts, m, channels, tiles, rows_of_part);                                                         \
  }                                                                                                                    \
  extern "C" __global__ void batch_norm_normalize_##name(const T* x, const double* mean, const double* inv_std, const Sum<T>* gamma,        \
                                                         const Sum<T>* beta, T* y, int m, int channels, int tiles,     \
                                                         int relu) {                                                   \
    normalize<T, N>(x, mean, inv_std, gamma, beta, y, m, channels, tiles, relu);                                              \
  }                                                                                                                    \
  extern "C" __global__ void batch_norm_gradient_sums_##name(                                                          \
      const T* x, const T* dy, const double* mean, const double* inv_std, const Sum<T>* gamma, const Sum<T>* beta, double* parts, int m,    \
      int channels, int tiles, int rows_of_part, int relu) {                                                           \
    gradient_sums<T, N>(x, dy, mean, inv_std, gamma, beta, parts, m, channels, tiles, rows_of_part, relu);                    \
  }                                                                                                                    \
  extern "C" __global__ void batch_norm_input_gradient_##name(                                                         \
      const T* x, const T* dy, const double* mean, const double* inv_std, const Sum<T>* gamma, const Sum<T>* beta, const double* sums,      \
      T* dx, int m, int channels, int tiles, int relu) {                                                               \
    input_gradient<T, N>(x, dy, mean, inv_std, gamma, beta, sums, dx, m, channels, tiles, relu);                              \
  }

#define DEFINE(T, name)                                                                                                \
  DEFINE_PACKED(T, name, 1)                                                                                            \
  DEFINE_PACKED(T, packs_##name, WIDE<T>)                                                                              \
  extern "C" __global__ void batch_norm_statistics_##name(const double* parts, const T* x, double* out, int count,     \
                                                          int m, int channels) {                                       \
    statistics(parts, x, out, count, m, channels);                                                                     \
  }
FOR_EACH_TYPE(DEFINE)

#define DEFINE_TABLES(R, name)                                                                                         \
  extern "C" __global__ void batch_norm_fixed_##name(const R* mean, const R* var, double* tables, int channels,        \
                                                     double eps) {                                                     \
    fixed(mean, var, tables, channels, eps);                                                                           \
  }                                                                                                                    \
  extern "C" __global__ void batch_norm_moved_##name(const double* statistics, R* mean, R* var, R* weight,             \
                                                     double* tables, int channels, double keep, double take,           \
                                                     double unbiased, double eps, int caffe) {                         \
    moved(statistics, mean, var, weight, tables, channels, keep, take, unbiased, eps, caffe);                          \
  }
FOR_EACH_WIDE_TYPE(DEFINE_TABLES)
