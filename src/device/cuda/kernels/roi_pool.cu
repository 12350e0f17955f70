// RoI max pooling and its gradient. `boxes` has one row per box: image, start and end row of each of ph bins, start
// and end column of each of pw bins.
#include "elements.cuh"

constexpr unsigned NONE = 0xffffffffu; // argmax of a bin without cells

// One block per bin of each box, one thread per channel. `winners` (argmax) may be null.
template <typename T>
__device__ void roi_pool(
    const T* x, T* y, unsigned* winners, const unsigned* boxes, int ph, int pw, int height, int width, int c) {
  const int j = blockIdx.x % pw, i = blockIdx.x / pw % ph;
  const unsigned* box = boxes + (long long)(blockIdx.x / (ph * pw)) * (1 + 2 * ph + 2 * pw);
  const unsigned *rows = box + 1 + 2 * i, *columns = box + 1 + 2 * ph + 2 * j;
  const T* image = x + (long long)box[0] * height * width * c;
  const bool empty = rows[0] >= rows[1] || columns[0] >= columns[1];
  for (int channel = threadIdx.x; channel < c; channel += blockDim.x) {
    Sum<T> best = empty ? Sum<T>(0) : Sum<T>(-INFINITY);
    unsigned winner = empty ? NONE : rows[0] * width + columns[0];
    for (unsigned row = rows[0]; row < rows[1]; ++row)
      for (unsigned column = columns[0]; column < columns[1]; ++column) {
        const unsigned cell = row * width + column;
        const Sum<T> v = load(image[(long long)cell * c + channel]);
        if (v > best || (v != v && best == best)) best = v, winner = cell; // NaN propagates
      }
    const long long at = (long long)blockIdx.x * c + channel;
    y[at] = store<T>(best);
    if (winners != nullptr) winners[at] = winner;
  }
}

// One block per cell of each image; gathers from the bins whose argmax it is, in order of boxes and bins.
template <typename T>
__device__ void roi_pool_gradient(
    const T* dy, T* dx, const unsigned* winners, const unsigned* boxes, int count, int ph, int pw, int height,
    int width, int c) {
  const unsigned cell = blockIdx.x % (height * width), image = blockIdx.x / (height * width);
  const unsigned row = cell / width, column = cell % width;
  const int stride = 1 + 2 * ph + 2 * pw;
  for (int channel = threadIdx.x; channel < c; channel += blockDim.x) {
    Sum<T> sum = 0;
    for (int r = 0; r < count; ++r) {
      const unsigned *box = boxes + (long long)r * stride, *rows = box + 1, *columns = box + 1 + 2 * ph;
      if (box[0] != image) continue;
      for (int i = 0; i < ph; ++i) {
        if (row < rows[2 * i] || row >= rows[2 * i + 1]) continue;
        for (int j = 0; j < pw; ++j) {
          if (column < columns[2 * j] || column >= columns[2 * j + 1]) continue;
          const long long at = (((long long)r * ph + i) * pw + j) * c + channel;
          if (winners[at] == cell) sum += load(dy[at]);
        }
      }
    }
    dx[(long long)blockIdx.x * c + channel] = store<T>(sum);
  }
}

#define DEFINE(T, name)                                                                                                \
  extern "C" __global__ void roi_pool_##name(                                                                          \
      const T* x, T* y, unsigned* winners, const unsigned* boxes, int ph, int pw, int height, int width, int c) {      \
    roi_pool(x, y, winners, boxes, ph, pw, height, width, c);                                                          \
  }                                                                                                                    \
  extern "C" __global__ void roi_pool_gradient_##name(                                                                 \
      const T* dy, T* dx, const unsigned* winners, const unsigned* boxes, int count, int ph, int pw, int height,       \
      int width, int c) {                                                                                              \
    roi_pool_gradient(dy, dx, winners, boxes, count, ph, pw, height, width, c);                                        \
  }
FOR_EACH_TYPE(DEFINE)
