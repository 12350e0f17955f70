// Max and average pooling of NHWC maps. A block goes over one row: neighbouring threads take neighbouring channels.
// Backward, each input pixel looks at the windows that cover it, in scan order, so nothing is added from two sides.
#include "elements.cuh"

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

// The windows that cover a position of an axis, which has `out` of them.
struct Cover {
  int first, end;
  __device__ Cover(const Geometry& g, int position, int out) {
    const int padded = position + g.pad, before = padded - g.kernel;
    first = before < 0 ? 0 : before / g.stride + 1;
    end = min(padded / g.stride + 1, out);
  }
};

template <typename S> __device__ __forceinline__ bool is_max(S x, S max) { return x == max || x != x; }

template <typename T> __device__ void max_forward(const T* x, T* y, Map map, Geometry g) {
  using S = Sum<T>;
  const int image = blockIdx.x / map.out_height;
  const Span rows(g, blockIdx.x % map.out_height, map.height);
  x += (long long)image * map.height * map.width * map.channels;
  y += (long long)blockIdx.x * map.out_width * map.channels;
  for (int i = threadIdx.x; i < map.out_width * map.channels; i += blockDim.x) {
    const int c = i % map.channels;
    const Span cols(g, i / map.channels, map.width);
    S best = load(x[((long long)rows.lo * map.width + cols.lo) * map.channels + c]);
    for (int row = rows.lo; row < rows.hi; row++)
      for (int col = cols.lo; col < cols.hi; col++) {
        const S v = load(x[((long long)row * map.width + col) * map.channels + c]);
        if (v > best || v != v) best = v;
      }
    y[i] = store<T>(best);
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

// Whether no tap of the window before (row, col) in scan order is its maximum. x is the channel's first pixel.
template <typename T>
__device__ bool first_max(const T* x, Sum<T> max, const Span& rows, const Span& cols, int row, int col, const Map& map) {
  for (int r = rows.lo; r <= row; r++)
    for (int c = cols.lo; c < (r == row ? col : cols.hi); c++)
      if (is_max(load(x[((long long)r * map.width + c) * map.channels]), max)) return false;
  return true;
}

template <typename T>
__device__ void max_backward(const T* x, const T* y, const T* dy, T* dx, Map map, Geometry g) {
  using S = Sum<T>;
  const int image = blockIdx.x / map.height, row = blockIdx.x % map.height;
  const Cover over_rows(g, row, map.out_height);
  x += (long long)image * map.height * map.width * map.channels;
  y += (long long)image * map.out_height * map.out_width * map.channels;
  dy += (long long)image * map.out_height * map.out_width * map.channels;
  dx += (long long)blockIdx.x * map.width * map.channels;
  for (int i = threadIdx.x; i < map.width * map.channels; i += blockDim.x) {
    const int c = i % map.channels, col = i / map.channels;
    const S own = load(x[((long long)row * map.width + col) * map.channels + c]);
    const Cover over_cols(g, col, map.out_width);
    S sum = 0;
    for (int oy = over_rows.first; oy < over_rows.end; oy++)
      for (int ox = over_cols.first; ox < over_cols.end; ox++) {
        const long long window = ((long long)oy * map.out_width + ox) * map.channels + c;
        const S max = load(y[window]);
        if (!is_max(own, max)) continue;
        if (first_max(x + c, max, Span(g, oy, map.height), Span(g, ox, map.width), row, col, map))
          sum += load(dy[window]);
      }
    dx[i] = store<T>(sum);
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

// One block for each row of the result, image by image.
#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void max_pool_##name(const T* x, T* y, int height, int width, int out_height, int out_width,   \
                                             int channels, int kernel, int stride, int pad) {                          \
    max_forward(x, y, {height, width, out_height, out_width, channels}, {kernel, stride, pad});                        \
  }                                                                                                                    \
  extern "C" __global__ void average_pool_##name(const T* x, T* y, int height, int width, int out_height,              \
                                                 int out_width, int channels, int kernel, int stride, int pad) {       \
    average_forward(x, y, {height, width, out_height, out_width, channels}, {kernel, stride, pad});                    \
  }                                                                                                                    \
  extern "C" __global__ void max_pool_gradient_##name(const T* x, const T* y, const T* dy, T* dx, int height,          \
                                                      int width, int out_height, int out_width, int channels,          \
                                                      int kernel, int stride, int pad) {                               \
    max_backward(x, y, dy, dx, {height, width, out_height, out_width, channels}, {kernel, stride, pad});               \
  }                                                                                                                    \
  extern "C" __global__ void average_pool_gradient_##name(const T* dy, T* dx, int height, int width, int out_height,   \
                                                          int out_width, int channels, int kernel, int stride,         \
                                                          int pad) {                                                   \
    average_backward(dy, dx, {height, width, out_height, out_width, channels}, {kernel, stride, pad});                 \
  }
FOR_EACH_TYPE(DEFINE)
