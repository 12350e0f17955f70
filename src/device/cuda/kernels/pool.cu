// Max and average pooling of NHWC maps. Each block processes one row; adjacent threads process adjacent packs of
// channels (16 bytes for max pooling if aligned) or single channels. In the backward pass each input pixel gathers
// from the windows that cover it, in scan order, so no atomics are needed.
#include "packs.cuh"

struct Map {
  int height, width, out_height, out_width, channels;
};
struct Geometry {
  int kernel, stride, pad;
};

// A window on one axis of length n: the part inside the image, and the length inside the padded image.
struct Span {
  int lo, hi, padded;
  __device__ Span(const Geometry& g, int i, int n) {
    const int start = i * g.stride, end = min(start + g.kernel, n + 2 * g.pad);
    lo = max(start - g.pad, 0);
    hi = min(end - g.pad, n);
    padded = end - start;
  }
};

// The range of windows, of `out` in total, that cover a position of an axis.
struct Cover {
  int first, end;
  __device__ Cover(const Geometry& g, int position, int out) {
    const int padded = position + g.pad, before = padded - g.kernel;
    first = before < 0 ? 0 : before / g.stride + 1;
    end = min(padded / g.stride + 1, out);
  }
};

template <typename S> __device__ __forceinline__ bool is_max(S x, S max) { return x == max || x != x; }

template <typename T, int N> __device__ void max_forward(const T* x, T* y, Map map, Geometry g) {
  const int image = blockIdx.x / map.out_height, packs = map.channels / N;
  const Span rows(g, blockIdx.x % map.out_height, map.height);
  x += (long long)image * map.height * map.width * map.channels;
  y += (long long)blockIdx.x * map.out_width * map.channels;
  for (int i = threadIdx.x; i < map.out_width * packs; i += blockDim.x) {
    const int column = i / packs, c = (i - column * packs) * N;
    const Span cols(g, column, map.width);
    Sum<T> best[N], tap[N];
    load_pack<N>(x + ((long long)rows.lo * map.width + cols.lo) * map.channels + c, best);
    for (int row = rows.lo; row < rows.hi; row++)
      for (int col = cols.lo; col < cols.hi; col++) {
        load_pack<N>(x + ((long long)row * map.width + col) * map.channels + c, tap);
#pragma unroll
        for (int n = 0; n < N; n++)
          if (tap[n] > best[n] || tap[n] != tap[n]) best[n] = tap[n];
      }
    store_pack<N>(best, y + (long long)i * N);
  }
}

template <typename T> __device__ void average_forward(const T* x, T* y, Map map, Geometry g) {
  using S = Sum<T>;
  const int image = blockIdx.x / map.out_height;
  const Span rows(g, blockIdx.x % map.out_height, map.height);
  x += (long long)image * map.height * map.width * map.channels;
  y += (long long)blockIdx.x * map.out_width * map.channels;
  for (int i = threadIdx.x; i < map.out_width * map.channels; i += blockDim.x) {
    const int c = i % map.channels;
    const Span cols(g, i / map.channels, map.width);
    S sum = 0;
    for (int row = rows.lo; row < rows.hi; row++)
      for (int col = cols.lo; col < cols.hi; col++)
        sum += load(x[((long long)row * map.width + col) * map.channels + c]);
    y[i] = store<T>(sum * (S(1) / S(rows.padded * cols.padded)));
  }
}

// The channels of the bit mask `open` in which no tap before (row, col) in scan order is the maximum. x is the first
// pixel of these channels.
template <typename T, int N>
__device__ unsigned first_maxima(const T* x, const Sum<T> (&max)[N], unsigned open, const Span& rows, const Span& cols,
                                 int row, int col, const Map& map) {
  for (int r = rows.lo; open && r <= row; r++)
    for (int c = cols.lo; open && c < (r == row ? col : cols.hi); c++) {
      Sum<T> tap[N];
      load_pack<N>(x + ((long long)r * map.width + c) * map.channels, tap);
#pragma unroll
      for (int n = 0; n < N; n++)
        if (is_max(tap[n], max[n])) open &= ~(1u << n);
    }
  return open;
}

template <typename T, int N>
__device__ void max_backward(const T* x, const T* y, const T* dy, T* dx, Map map, Geometry g) {
  const int image = blockIdx.x / map.height, row = blockIdx.x % map.height, packs = map.channels / N;
  const Cover over_rows(g, row, map.out_height);
  x += (long long)image * map.height * map.width * map.channels;
  y += (long long)image * map.out_height * map.out_width * map.channels;
  dy += (long long)image * map.out_height * map.out_width * map.channels;
  dx += (long long)blockIdx.x * map.width * map.channels;
  for (int i = threadIdx.x; i < map.width * packs; i += blockDim.x) {
    const int col = i / packs, c = (i - col * packs) * N;
    const Cover over_cols(g, col, map.out_width);
    Sum<T> own[N], max[N], gradient[N], sum[N] = {};
    load_pack<N>(x + ((long long)row * map.width + col) * map.channels + c, own);
    for (int oy = over_rows.first; oy < over_rows.end; oy++)
      for (int ox = over_cols.first; ox < over_cols.end; ox++) {
        const long long window = ((long long)oy * map.out_width + ox) * map.channels + c;
        load_pack<N>(y + window, max);
        unsigned open = 0;
#pragma unroll
        for (int n = 0; n < N; n++) open |= (unsigned)is_max(own[n], max[n]) << n;
        open = first_maxima<T, N>(x + c, max, open, Span(g, oy, map.height), Span(g, ox, map.width), row, col, map);
        if (!open) continue;
        load_pack<N>(dy + window, gradient);
#pragma unroll
        for (int n = 0; n < N; n++)
          if (open >> n & 1) sum[n] += gradient[n];
      }
    store_pack<N>(sum, dx + (long long)i * N);
  }
}

template <typename T> __device__ void average_backward(const T* dy, T* dx, Map map, Geometry g) {
  using S = Sum<T>;
  const int image = blockIdx.x / map.height;
  const Cover over_rows(g, blockIdx.x % map.height, map.out_height);
  dy += (long long)image * map.out_height * map.out_width * map.channels;
  dx += (long long)blockIdx.x * map.width * map.channels;
  for (int i = threadIdx.x; i < map.width * map.channels; i += blockDim.x) {
    const int c = i % map.channels;
    const Cover over_cols(g, i / map.channels, map.out_width);
    S sum = 0;
    for (int oy = over_rows.first; oy < over_rows.end; oy++)
      for (int ox = over_cols.first; ox < over_cols.end; ox++) {
        const int size = Span(g, oy, map.height).padded * Span(g, ox, map.width).padded;
        sum += load(dy[((long long)oy * map.out_width + ox) * map.channels + c]) * (S(1) / S(size));
      }
    dx[i] = store<T>(sum);
  }
}

// One block per output row, image by image.
#define DEFINE_MAX(T, N, name)                                                                                         \
  extern "C" __global__ void max_pool_##name(const T* x, T* y, int height, int width, int out_height, int out_width,   \
                                             int channels, int kernel, int stride, int pad) {                          \
    max_forward<T, N>(x, y, {height, width, out_height, out_width, channels}, {kernel, stride, pad});                  \
  }                                                                                                                    \
  extern "C" __global__ void max_pool_gradient_##name(const T* x, const T* y, const T* dy, T* dx, int height,          \
                                                      int width, int out_height, int out_width, int channels,          \
                                                      int kernel, int stride, int pad) {                               \
    max_backward<T, N>(x, y, dy, dx, {height, width, out_height, out_width, channels}, {kernel, stride, pad});         \
  }

#define DEFINE(T, name)                                                                                                \
  DEFINE_MAX(T, 1, name)                                                                                               \
  DEFINE_MAX(T, WIDE<T>, packs_##name)                                                                                 \
  extern "C" __global__ void average_pool_##name(const T* x, T* y, int height, int width, int out_height,              \
                                                 int out_width, int channels, int kernel, int stride, int pad) {       \
    average_forward(x, y, {height, width, out_height, out_width, channels}, {kernel, stride, pad});                    \
  }                                                                                                                    \
  extern "C" __global__ void average_pool_gradient_##name(const T* dy, T* dx, int height, int width, int out_height,   \
                                                          int out_width, int channels, int kernel, int stride,         \
                                                          int pad) {                                                   \
    average_backward(dy, dx, {height, width, out_height, out_width, channels}, {kernel, stride, pad});                 \
  }
FOR_EACH_TYPE(DEFINE)
