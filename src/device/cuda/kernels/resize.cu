// Bilinear resizing of (B, H, W, C) maps and its gradient. gridDim.x is the number of output rows, gridDim.y the
// number of parts per row.
#include "elements.cuh"

// `lower` and `weights`: for each of h rows, then each of w columns, the lower of the two samples and the weight of
// the upper one.
template <typename T>
__device__ void resize(
    const T* x, T* y, const unsigned* lower, const Sum<T>* weights, int from_h, int from_w, int h, int w, int c) {
  using S = Sum<T>;
  const int row = blockIdx.x % h, from_row = from_w * c, to_row = w * c;
  const int y0 = lower[row], y1 = min(y0 + 1, from_h - 1);
  const S fy = weights[row];
  const T* image = x + (long long)(blockIdx.x / h) * from_h * from_row;
  const T *top = image + (long long)y0 * from_row, *bottom = image + (long long)y1 * from_row;
  T* out = y + (long long)blockIdx.x * to_row;
  for (int j = blockIdx.y * blockDim.x + threadIdx.x; j < to_row; j += gridDim.y * blockDim.x) {
    const int column = j / c, channel = j - column * c, x0 = lower[h + column];
    const int left = x0 * c + channel, right = min(x0 + 1, from_w - 1) * c + channel;
    const S fx = weights[h + column];
    const S tl = load(top[left]), bl = load(bottom[left]);
    const S upper = tl + (load(top[right]) - tl) * fx, under = bl + (load(bottom[right]) - bl) * fx;
    out[j] = store<T>(upper + (under - upper) * fy);
  }
}

// Each input sample gathers from its readers. `readers`: start offsets of the reader lists of from_h rows and from_w
// columns, each followed by an end offset; then the lists. `weights` is parallel to the lists.
template <typename T>
__device__ void resize_gradient(
    const T* dy, T* dx, const unsigned* readers, const Sum<T>* weights, int from_h, int from_w, int h, int w, int c) {
  using S = Sum<T>;
  const unsigned *rows = readers + blockIdx.x % from_h, *columns = readers + from_h + 1;
  const unsigned* list = columns + from_w + 1;
  const int from_row = from_w * c, to_row = w * c;
  const T* image = dy + (long long)(blockIdx.x / from_h) * h * to_row;
  T* out = dx + (long long)blockIdx.x * from_row;
  for (int j = blockIdx.y * blockDim.x + threadIdx.x; j < from_row; j += gridDim.y * blockDim.x) {
    const int column = j / c, channel = j - column * c;
    S sum = 0;
    for (unsigned r = rows[0]; r < rows[1]; ++r) {
      const T* line = image + (long long)list[r] * to_row + channel;
      for (unsigned q = columns[column]; q < columns[column + 1]; ++q)
        sum += load(line[(int)list[q] * c]) * (weights[r] * weights[q]);
    }
    out[j] = store<T>(sum);
  }
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void resize_##name(                                                                            \
      const T* x, T* y, const unsigned* lower, const Sum<T>* weights, int from_h, int from_w, int h, int w, int c) {   \
    resize(x, y, lower, weights, from_h, from_w, h, w, c);                                                             \
  }                                                                                                                    \
  extern "C" __global__ void resize_gradient_##name(                                                                   \
      const T* dy, T* dx, const unsigned* readers, const Sum<T>* weights, int from_h, int from_w, int h, int w,        \
      int c) {                                                                                                         \
    resize_gradient(dy, dx, readers, weights, from_h, from_w, h, w, c);                                                \
  }
FOR_EACH_TYPE(DEFINE)

// Weighted sums of `taps` neighboring samples of an axis of `from`, with weights of each output picture's own.
// `indices`: the input picture of each of n output pictures, then the first sample of each of its `to` positions.
extern "C" __global__ void filter_axis(
    const float* x, float* y, const unsigned* indices, const float* weights, int n, int outer, int from, int to,
    int inner, int taps) {
  const long long line = (long long)to * inner, picture = line * outer;
  FOR_ELEMENTS(i, picture * n) {
    const int source = indices[i / picture], o = i % picture / line, j = i % line / inner, k = i % inner;
    const long long at = i / picture * to + j;
    const float* sample = x + (((long long)source * outer + o) * from + indices[n + at]) * inner + k;
    float sum = 0.0f;
    for (int tap = 0; tap < taps; ++tap) sum += weights[at * taps + tap] * sample[(long long)tap * inner];
    y[i] = sum;
  }
}
