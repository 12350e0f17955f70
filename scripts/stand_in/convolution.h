// The three convolutions that cuDNN computes, for the stand-in: forward, with respect to the data,
// and with respect to the filter. One loop over (picture, place, tap) serves all three.
#pragma once
#include <vector>

#include "elements.h"

namespace stand_in {
struct Tensor4 {
  Type type = Type::None;
  int dims[4] = {0, 0, 0, 0};          // n, c, h, w; of a filter: out, in of a group, h, w
  long long strides[4] = {0, 0, 0, 0};
  size_t at(int n, int c, int h, int w) const {
    return static_cast<size_t>(n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3]);
  }
  size_t bytes() const {
    long long last = 0;
    for (int i = 0; i < 4; ++i) last += (dims[i] - 1) * strides[i];
    return static_cast<size_t>(last + 1) * size_of(type);
  }
  bool channels_last() const { return strides[1] == 1 && dims[1] > 1; }
};

struct Convolution {
  int pad[2] = {0, 0}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  int groups = 1;
  bool flip = false;  // a true convolution: the taps turned round
  int compute = 0;
};

enum class Pass { Forward, Data, Filter };

template <class Acc>
struct Convolver {
  const Tensor4 x, w, y;
  const Convolution conv;
  // dense copies: pictures as (n, h, w, c), taps as (h, w, group, in, out) or (h, w, group, out, in)
  std::vector<Acc> xs, ws, ys;
  Pass pass;

  int in() const { return w.dims[1]; }
  int out() const { return w.dims[0] / conv.groups; }

  size_t tap(int k, int c, int h, int v) const {
    const size_t g = static_cast<size_t>(k / out()), o = static_cast<size_t>(k % out()), i = static_cast<size_t>(c);
    const size_t hw = static_cast<size_t>(h * w.dims[3] + v) * static_cast<size_t>(conv.groups) + g;
    const size_t ni = static_cast<size_t>(in()), no = static_cast<size_t>(out());
    return hw * ni * no + (pass == Pass::Data ? o * ni + i : i * no + o);
  }
  static size_t pixel(const Tensor4& t, int n, int c, int h, int v) {
    return ((static_cast<size_t>(n) * t.dims[2] + h) * t.dims[3] + v) * t.dims[1] + c;
  }
  template <class F>
  static void each(const Tensor4& t, F f) {
    for (int n = 0; n < t.dims[0]; ++n)
      for (int c = 0; c < t.dims[1]; ++c)
        for (int h = 0; h < t.dims[2]; ++h)
          for (int v = 0; v < t.dims[3]; ++v) f(n, c, h, v);
  }
  static size_t count(const Tensor4& t) { return size_t(t.dims[0]) * t.dims[1] * t.dims[2] * t.dims[3]; }

  void load(std::vector<Acc>& to, const Tensor4& t, const void* from, bool filter) {
    to.assign(count(t), Acc(0));
    if (!from) return;
    each(t, [&](int n, int c, int h, int v) {
      to[filter ? tap(n, c, h, v) : pixel(t, n, c, h, v)] = get<Acc>(from, t.type, t.at(n, c, h, v));
    });
  }

  // out[j] += sum over i of a[i] * b[i][j], or out[i][j] += a[i] * b[j]
  static void inner(const Acc* a, int na, const Acc* b, int nb, Acc* to) {
    for (int i = 0; i < na; ++i)
      for (int j = 0; j < nb; ++j) to[j] += a[i] * b[i * nb + j];
  }
  static void outer(const Acc* a, int na, const Acc* b, int nb, Acc* to) {
    for (int i = 0; i < na; ++i)
      for (int j = 0; j < nb; ++j) to[i * nb + j] += a[i] * b[j];
  }

  void at_tap(int n, int oh, int ow, int kh, int kw) {
    const int ih = oh * conv.stride[0] - conv.pad[0] + kh * conv.dilation[0];
    const int iw = ow * conv.stride[1] - conv.pad[1] + kw * conv.dilation[1];
    if (ih < 0 || iw < 0 || ih >= x.dims[2] || iw >= x.dims[3]) return;
    const int fh = conv.flip ? w.dims[2] - 1 - kh : kh, fw = conv.flip ? w.dims[3] - 1 - kw : kw;
    for (int g = 0; g < conv.groups; ++g) {
      Acc* px = &xs[pixel(x, n, g * in(), ih, iw)];
      Acc* py = &ys[pixel(y, n, g * out(), oh, ow)];
      Acc* pw = &ws[tap(g * out(), 0, fh, fw)];
      if (pass == Pass::Forward) inner(px, in(), pw, out(), py);
      else if (pass == Pass::Data) inner(py, out(), pw, in(), px);
      else outer(px, in(), py, out(), pw);
    }
  }

  // `backwards` changes the order of the sums, as an algorithm that is not deterministic does.
  void run(bool backwards) {
    const long places = long(y.dims[0]) * y.dims[2] * y.dims[3], taps = long(w.dims[2]) * w.dims[3];
    for (long p = 0; p < places; ++p) {
      const long at = backwards ? places - 1 - p : p;
      const int n = int(at / (y.dims[2] * y.dims[3])), oh = int(at / y.dims[3] % y.dims[2]), ow = int(at % y.dims[3]);
      for (long t = 0; t < taps; ++t) {
        const long k = backwards ? taps - 1 - t : t;
        at_tap(n, oh, ow, int(k / w.dims[3]), int(k % w.dims[3]));
      }
    }
  }

  template <class F>
  void store(const std::vector<Acc>& from, const Tensor4& t, bool filter, F put_one) {
    each(t, [&](int n, int c, int h, int v) {
      put_one(t.at(n, c, h, v), c, from[filter ? tap(n, c, h, v) : pixel(t, n, c, h, v)]);
    });
  }
};

// Computes one pass and hands each result to put_one(offset, channel, value).
template <class Acc, class F>
void convolve(Pass pass, const Tensor4& x, const void* px, const Tensor4& w, const void* pw, const Tensor4& y,
              const void* py, const Convolution& conv, bool backwards, F put_one) {
  Convolver<Acc> c{x, w, y, conv, {}, {}, {}, pass};
  c.load(c.xs, x, pass == Pass::Data ? nullptr : px, false);
  c.load(c.ws, w, pass == Pass::Filter ? nullptr : pw, true);
  c.load(c.ys, y, pass == Pass::Forward ? nullptr : py, false);
  c.run(backwards);
  if (pass == Pass::Forward) c.store(c.ys, y, false, put_one);
  else if (pass == Pass::Data) c.store(c.xs, x, false, put_one);
  else c.store(c.ws, w, true, put_one);
}
}  // namespace stand_in
