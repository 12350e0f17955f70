// Row operations: copies between pitches and dtypes, bias and ReLU, sums over rows.
#include "elements.cuh"

// Copies (rows, columns) between pitches; padding is set to 0.
template <typename From, typename To>
__device__ void copy_rows(const From* x, To* y, long long rows, int columns, int from, int to) {
  FOR_ELEMENTS(i, rows * to) {
    const int column = i % to;
    y[i] = store<To>(column < columns ? load(x[i / to * from + column]) : Sum<From>(0));
  }
}

// Adds bias and applies an optional ReLU to y (rows, columns) with a pitch, packed into out, which may be y itself if
// the pitch equals the number of columns.
template <typename T>
__device__ void finish_rows(const T* y, const Sum<T>* bias, T* out, long long rows, int columns, int pitch, int relu) {
  FOR_ELEMENTS(i, rows * columns) {
    const int column = i % columns;
    Sum<T> v = load(y[i / columns * pitch + column]);
    if (bias) v += bias[column];
    out[i] = store<T>(relu ? rectify(v) : v);
  }
}

// In-place variant for packed rows of whole vectors.
template <typename T> __device__ void finish_vectors(T* y, const Sum<T>* bias, long long vectors, int columns, int relu) {
  constexpr int width = Vector<T>::width;
  Vector<T>* out = reinterpret_cast<Vector<T>*>(y);
  FOR_ELEMENTS(i, vectors) {
    const int column = (unsigned)(i % (columns / width)) * width;
    Vector<T> v = out[i];
    for (int k = 0; k < width; ++k) {
      Sum<T> value = load(v.at[k]);
      if (bias) value += bias[column + k];
      v.at[k] = store<T>(relu ? rectify(value) : value);
    }
    out[i] = v;
  }
}

// Sums of runs of rows, one run per blockIdx.y: a block is 32 columns wide and processes 8 rows at a time.
template <typename T>
__device__ void sum_runs(const T* x, Sum<T>* partial, long long rows, int columns, int run) {
  __shared__ Sum<T> sums[8][33];
  const int column = blockIdx.x * 32 + threadIdx.x;
  const long long first = (long long)blockIdx.y * run, end = first + run < rows ? first + run : rows;
  Sum<T> sum = 0;
  if (column < columns)
    for (long long row = first + threadIdx.y; row < end; row += 8) sum += load(x[row * columns + column]);
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < columns) {
    for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
    partial[(long long)blockIdx.y * columns + column] = sum;
  }
}

// Adds the runs' sums of 32 columns per block of 32 × 32 threads: each thread row adds every 32nd run, then the first
// row adds the others' sums in order.
template <typename S> __device__ void join_runs(const S* partial, S* sums, int runs, int columns) {
  __shared__ double parts[32][33];
  const int column = blockIdx.x * 32 + threadIdx.x;
  double sum = 0;
  if (column < columns)
    for (int run = threadIdx.y; run < runs; run += 32) sum += partial[(long long)run * columns + column];
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < columns) {
    for (int i = 1; i < 32; ++i) sum += parts[i][threadIdx.x];
    sums[column] = sum;
  }
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void copy_rows_##name(const T* x, T* y, long long rows, int columns, int from, int to) {       \
    copy_rows(x, y, rows, columns, from, to);                                                                          \
  }                                                                                                                    \
  extern "C" __global__ void finish_rows_##name(const T* y, const Sum<T>* bias, T* out, long long rows, int columns,   \
                                                int pitch, int relu) {                                                 \
    finish_rows(y, bias, out, rows, columns, pitch, relu);                                                             \
  }                                                                                                                    \
  extern "C" __global__ void finish_vectors_##name(T* y, const Sum<T>* bias, long long vectors, int columns,           \
                                                   int relu) {                                                         \
    finish_vectors(y, bias, vectors, columns, relu);                                                                   \
  }                                                                                                                    \
  extern "C" __global__ void sum_runs_##name(const T* x, Sum<T>* partial, long long rows, int columns, int run) {      \
    sum_runs(x, partial, rows, columns, run);                                                                          \
  }
FOR_EACH_TYPE(DEFINE)

#define DEFINE_JOIN(S, name)                                                                                           \
  extern "C" __global__ void join_runs_##name(const S* partial, S* sums, int runs, int columns) {                      \
    join_runs(partial, sums, runs, columns);                                                                           \
  }
FOR_EACH_WIDE_TYPE(DEFINE_JOIN)

extern "C" __global__ void copy_rows_f32_bf16(const float* x, __nv_bfloat16* y, long long rows, int columns, int from,
                                              int to) {
  copy_rows(x, y, rows, columns, from, to);
}
