// Self-test of the stand-in: it drives the libraries as a program built for CUDA does.
#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "numbers.h"

namespace {
using Ptr = unsigned long long;
using Stream = void*;
void *cuda, *blas, *dnn;
int failures = 0;

// call("name", arguments...): a function of one of the libraries, which answers a status
template <class... A>
int call(void* library, const char* name, A... arguments) {
  auto f = reinterpret_cast<int (*)(A...)>(dlsym(library, name));
  if (!f) {
    printf("no function %s\n", name);
    exit(1);
  }
  return f(arguments...);
}
template <class... A>
void must(void* library, const char* name, A... arguments) {
  const int status = call(library, name, arguments...);
  if (status) {
    printf("%s answers %d\n", name, status);
    exit(1);
  }
}
void expect(bool good, const std::string& what) {
  if (!good) ++failures;
  printf("  %s %s\n", good ? "ok  " : "FAIL", what.c_str());
}

struct Bytes {
  Ptr p = 0;
  size_t n = 0;
};
template <class T>
Bytes up(const std::vector<T>& v, Stream s = nullptr) {
  Bytes b{0, v.size() * sizeof(T)};
  must(cuda, "cuMemAllocAsync", &b.p, b.n, s);
  must(cuda, "cuMemcpyHtoDAsync_v2", b.p, static_cast<const void*>(v.data()), b.n, s);
  return b;
}
template <class T>
std::vector<T> down(Bytes b, Stream s = nullptr) {
  std::vector<T> v(b.n / sizeof(T));
  must(cuda, "cuMemcpyDtoHAsync_v2", static_cast<void*>(v.data()), b.p, b.n, s);
  return v;
}
Bytes space(size_t bytes, Stream s = nullptr) {
  Bytes b{0, bytes};
  must(cuda, "cuMemAllocAsync", &b.p, b.n, s);
  return b;
}
void* function(const char* name) {
  static void* module = nullptr;
  void* f = nullptr;
  if (!module) must(cuda, "cuModuleLoadData", &module, static_cast<const void*>("any text"));
  must(cuda, "cuModuleGetFunction", &f, module, name);
  return f;
}
template <class... A>
void launch(const char* name, unsigned grid, unsigned block, unsigned shared, Stream s, A... arguments) {
  void* params[] = {&arguments...};
  must(cuda, "cuLaunchKernel", function(name), grid, 1u, 1u, block, 1u, 1u, shared, s, static_cast<void**>(params),
       static_cast<void**>(nullptr));
}
Stream stream() {
  Stream s;
  must(cuda, "cuStreamCreate", &s, 1u);
  return s;
}

float noise() {
  static unsigned state = 1;
  state = state * 1664525u + 1013904223u;
  return float(state >> 8) / float(1 << 24) - 0.5f;
}
std::vector<float> noises(size_t n) {
  std::vector<float> v(n);
  for (float& x : v) x = noise();
  return v;
}
template <class T>
std::vector<T> as(const std::vector<float>& v) {
  return std::vector<T>(v.begin(), v.end());
}

// ---- kernels ---------------------------------------------------------------------------------
void kernels() {
  const long n = 1000;
  const auto x = noises(n), y = noises(n);
  const Bytes dx = up(x), dy = up(y);
  launch("check_saxpy", 4, 256, 0, nullptr, 2.0f, dx.p, dy.p, n);
  const auto out = down<float>(dy);
  bool same = true;
  for (long i = 0; i < n; ++i) same &= out[i] == 2.0f * x[i] + y[i];
  expect(same, "saxpy");

  const Bytes sums = space(16), above = up(std::vector<unsigned>{0});
  launch("check_block_sum", 4, 256, 0, nullptr, dx.p, sums.p, above.p, n);
  double worst = 0;
  unsigned count = 0;
  const auto s = down<float>(sums);
  for (long b = 0; b < 4; ++b) {
    double t = 0;
    for (long i = b * 256; i < n && i < (b + 1) * 256; ++i) t += x[i], count += x[i] > 0;
    worst = std::fmax(worst, std::fabs(t - s[b]));
  }
  expect(worst < 1e-5, "block sums by shuffles and shared memory");
  expect(down<unsigned>(above)[0] == count, "ballot and atomicAdd");

  launch("check_reverse", 3, 100, 400, nullptr, dx.p, dy.p);
  expect(down<float>(dy)[100] == x[199], "dynamic shared memory");
  launch("check_unwritten", 1, 4, 0, nullptr, dy.p);
  expect(std::isnan(down<float>(dy)[2]), "unwritten shared memory is NaN");

  struct { float slope; int offset; } line = {0.5f, 3};
  const auto b = as<__nv_bfloat16>(x);
  const Bytes db = up(b);
  launch("check_line", 2, 64, 0, nullptr, line, db.p, db.p, n);
  same = true;
  const auto lines = down<__nv_bfloat16>(db);
  for (long i = 0; i < n; ++i) same &= lines[i] == __nv_bfloat16(float(b[i]) * 0.5f + 3.0f);
  expect(same, "a bf16 kernel with a struct argument");
}

void roundings() {
  bool good = true;
  for (unsigned i = 0; i < 65536; ++i) {
    const unsigned short code = static_cast<unsigned short>(i);
    const __half h = __ushort_as_half(code);
    const __nv_bfloat16 b = __ushort_as_bfloat16(code);
    if (!__hisnan(h)) good &= __half(float(h)).__x == code;
    if (!__hisnan(b)) good &= __nv_bfloat16(float(b)).__x == code;
  }
  expect(good, "every f16 and bf16 survives f32");
  expect(__nv_bfloat16(1.0f + 0x1p-8f).__x == 0x3F80 && __nv_bfloat16(1.0f + 3 * 0x1p-8f).__x == 0x3F82, "bf16 ties go to even");
  expect(__nv_bfloat16(1.0 + 0x1p-8 + 0x1p-40).__x == 0x3F81, "f64 to bf16 rounds once");
  expect(__half(65519.0f).__x == 0x7BFF && __half(65520.0f).__x == 0x7C00 && __half(0x1p-25f).__x == 0, "f16 at its ends");
  good = true;
  for (unsigned i = 0; i < 128; ++i) {
    const __half h = __nv_cvt_fp8_to_halfraw(static_cast<unsigned char>(i), __NV_E4M3);
    if (i != 127) good &= __nv_fp8_e4m3(h).__x == i;
  }
  expect(good && __nv_fp8_e4m3(1e9f).__x == 0x7E, "every fp8 e4m3 survives f16");
}

// ---- matrix products -------------------------------------------------------------------------
void products() {
  void* h;
  must(blas, "cublasCreate_v2", &h);
  double worst = 0;
  for (int ops = 0; ops < 4; ++ops) {
    const int m = 5, n = 7, k = 3, batch = 2, ta = ops & 1, tb = ops >> 1;
    const int lda = (ta ? k : m) + 1, ldb = (tb ? n : k) + 2, ldc = m + 1;
    const long long sa = lda * 8, sb = ldb * 8, sc = ldc * 8;
    const auto a = noises(sa * batch), b = noises(sb * batch), c = noises(sc * batch);
    const Bytes da = up(a), db = up(b), dc = up(c);
    const float alpha = 1.5f, beta = 0.5f;
    must(blas, "cublasGemmStridedBatchedEx", h, ta, tb, m, n, k, &alpha, da.p, 0, lda, sa, db.p, 0, ldb, sb, &beta, dc.p, 0, ldc, sc,
         batch, 68, -1);
    const auto out = down<float>(dc);
    for (int g = 0; g < batch; ++g)
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
          double t = 0;
          for (int l = 0; l < k; ++l) t += double(a[g * sa + (ta ? l + i * lda : i + l * lda)]) * b[g * sb + (tb ? j + l * ldb : l + j * ldb)];
          worst = std::fmax(worst, std::fabs(out[g * sc + i + j * ldc] - (alpha * t + beta * c[g * sc + i + j * ldc])));
        }
  }
  expect(worst < 1e-6, "strided batched products in all transpositions");
  const auto a = noises(64), b = noises(64);
  const Bytes da = up(as<__nv_bfloat16>(a)), db = up(as<__nv_bfloat16>(b)), dc = space(128);
  const float one = 1, zero = 0;
  must(blas, "cublasGemmEx", h, 0, 0, 8, 8, 8, &one, da.p, 14, 8, db.p, 14, 8, &zero, dc.p, 14, 8, 68, -1);
  float t = 0;
  for (int l = 0; l < 8; ++l) t += float(__nv_bfloat16(a[2 + l * 8])) * float(__nv_bfloat16(b[l + 5 * 8]));
  expect(down<__nv_bfloat16>(dc)[2 + 5 * 8] == __nv_bfloat16(t), "a bf16 product; beta 0 does not read what was there");
  expect(call(blas, "cublasGemmEx", h, 0, 0, 9, 8, 8, &one, da.p, 14, 9, db.p, 14, 8, &zero, dc.p, 14, 9, 68, -1) != 0,
         "a product past the end of a matrix is refused");
}

// ---- convolutions ----------------------------------------------------------------------------
struct Shape {
  int n, c, h, w, k, r, s, groups, pad, stride, dilation;
  int oh() const { return (h + 2 * pad - (r - 1) * dilation - 1) / stride + 1; }
  int ow() const { return (w + 2 * pad - (s - 1) * dilation - 1) / stride + 1; }
};
size_t at(bool last, const int* d, int a, int b, int y, int x) {
  return size_t(last ? ((a * d[2] + y) * d[3] + x) * d[1] + b : ((a * d[1] + b) * d[2] + y) * d[3] + x);
}
// one term for each (picture, output, place, tap) that lies inside
void terms(const Shape& q, bool last, const std::function<void(size_t x, size_t w, size_t y)>& f) {
  const int dx[4] = {q.n, q.c, q.h, q.w}, dw[4] = {q.k, q.c / q.groups, q.r, q.s}, dy[4] = {q.n, q.k, q.oh(), q.ow()};
  for (int n = 0; n < q.n; ++n)
    for (int k = 0; k < q.k; ++k)
      for (int c = 0; c < dw[1]; ++c)
        for (int y = 0; y < dy[2]; ++y)
          for (int x = 0; x < dy[3]; ++x)
            for (int r = 0; r < q.r; ++r)
              for (int s = 0; s < q.s; ++s) {
                const int iy = y * q.stride - q.pad + r * q.dilation, ix = x * q.stride - q.pad + s * q.dilation;
                if (iy < 0 || ix < 0 || iy >= q.h || ix >= q.w) continue;
                const int group = k / (q.k / q.groups);
                f(at(last, dx, n, group * dw[1] + c, iy, ix), at(last, dw, k, c, r, s), at(last, dy, n, k, y, x));
              }
}
double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double t = 0;
  for (size_t i = 0; i < a.size(); ++i) t += double(a[i]) * b[i];
  return t;
}
double apart(const std::vector<float>& a, const std::vector<double>& b) {
  double most = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::fmax(most, std::fabs(a[i] - b[i])), size = std::fmax(size, std::fabs(b[i]));
  return most / size;
}
struct Descriptors {
  void *h, *x, *w, *y, *conv;
  Descriptors(const Shape& q, int type, int format) {
    must(dnn, "cudnnCreate", &h);
    must(dnn, "cudnnCreateTensorDescriptor", &x);
    must(dnn, "cudnnCreateTensorDescriptor", &y);
    must(dnn, "cudnnCreateFilterDescriptor", &w);
    must(dnn, "cudnnCreateConvolutionDescriptor", &conv);
    must(dnn, "cudnnSetTensor4dDescriptor", x, format, type, q.n, q.c, q.h, q.w);
    must(dnn, "cudnnSetTensor4dDescriptor", y, format, type, q.n, q.k, q.oh(), q.ow());
    must(dnn, "cudnnSetFilter4dDescriptor", w, type, format, q.k, q.c / q.groups, q.r, q.s);
    must(dnn, "cudnnSetConvolution2dDescriptor", conv, q.pad, q.pad, q.stride, q.stride, q.dilation, q.dilation, 1, type == 1 ? 1 : 0);
    must(dnn, "cudnnSetConvolutionGroupCount", conv, q.groups);
  }
};

template <class T>
void convolution(const Shape& q, int type, bool last, double bound, const char* what) {
  const Descriptors d(q, type, last);
  const auto x = as<T>(noises(size_t(q.n) * q.c * q.h * q.w)), w = as<T>(noises(size_t(q.k) * (q.c / q.groups) * q.r * q.s)),
             g = as<T>(noises(size_t(q.n) * q.k * q.oh() * q.ow()));
  const Bytes dx = up(x), dw = up(w), dg = up(g), oy = space(dg.n), ox = space(dx.n), ow = space(dw.n), ws = space(1 << 20);
  const float one = 1, zero = 0;
  must(dnn, "cudnnConvolutionForward", d.h, &one, d.x, dx.p, d.w, dw.p, d.conv, 1, ws.p, ws.n, &zero, d.y, oy.p);
  must(dnn, "cudnnConvolutionBackwardData", d.h, &one, d.w, dw.p, d.y, dg.p, d.conv, 1, ws.p, ws.n, &zero, d.x, ox.p);
  must(dnn, "cudnnConvolutionBackwardFilter", d.h, &one, d.x, dx.p, d.y, dg.p, d.conv, 1, ws.p, ws.n, &zero, d.w, ow.p);
  auto floats = [](const std::vector<T>& v) { return std::vector<float>(v.begin(), v.end()); };
  const auto y = floats(down<T>(oy)), gx = floats(down<T>(ox)), gw = floats(down<T>(ow)), xf = floats(x), wf = floats(w), gf = floats(g);
  std::vector<double> ny(g.size()), nx(x.size()), nw(w.size());
  terms(q, last, [&](size_t i, size_t j, size_t k) {
    ny[k] += double(xf[i]) * wf[j];
    nx[i] += double(wf[j]) * gf[k];
    nw[j] += double(xf[i]) * gf[k];
  });
  expect(apart(y, ny) < bound && apart(gx, nx) < bound && apart(gw, nw) < bound, what);
  const double a = dot(y, gf), b = dot(xf, gx), c = dot(wf, gw), near = bound * 10 * std::sqrt(double(g.size()));
  expect(std::fabs(a - b) < near && std::fabs(a - c) < near, "  and its passes are adjoint");
}

void convolutions() {
  convolution<float>({2, 6, 9, 8, 4, 3, 3, 2, 2, 2, 2}, 0, true, 1e-5, "f32, NHWC, groups, dilation, stride");
  convolution<float>({2, 6, 9, 8, 4, 3, 2, 1, 1, 1, 1}, 0, false, 1e-5, "f32, NCHW");
  convolution<__nv_bfloat16>({2, 8, 7, 9, 8, 3, 3, 2, 2, 1, 2}, 9, true, 1e-2, "bf16, NHWC, groups, dilation");
  const Shape q{1, 4, 5, 5, 4, 3, 3, 1, 1, 1, 1};
  const Descriptors d(q, 0, 1);
  struct { int algorithm, status; float time; size_t memory; int deterministic, math, reserved[3]; } found[8];
  int n = 0;
  must(dnn, "cudnnGetConvolutionForwardAlgorithm_v7", d.h, d.x, d.w, d.conv, d.y, 8, &n, static_cast<void*>(found));
  expect(n == 4 && found[3].status == 3000 && found[0].memory > 0, "the algorithm query has several answers");
  const Bytes x = up(noises(100)), w = up(noises(144)), y = space(400), ws = space(16);
  const float one = 1, zero = 0;
  expect(call(dnn, "cudnnConvolutionForward", d.h, &one, d.x, x.p, d.w, w.p, d.conv, 1, ws.p, ws.n, &zero, d.y, y.p) == 2000,
         "a workspace that is too small is refused");
  must(dnn, "cudnnSetConvolutionGroupCount", d.conv, 2);
  expect(call(dnn, "cudnnGetConvolutionForwardWorkspaceSize", d.h, d.x, d.w, d.conv, d.y, 1, &ws.n) == 2000, "channels that do not fit the groups are refused");
}

// ---- strictness ------------------------------------------------------------------------------
// y = x by a kernel on one stream, then x is overwritten on another.
float race(bool dependency, bool producer_first) {
  Stream a = stream(), b = stream();
  Stream reader = producer_first ? b : a, writer = producer_first ? a : b;
  const long n = 64;
  const Bytes x = up(std::vector<float>(n, 1.0f), writer);
  must(cuda, "cuStreamSynchronize", writer);
  const Bytes y = up(std::vector<float>(n, 0.0f), reader);
  must(cuda, "cuStreamSynchronize", reader);
  void* event;
  must(cuda, "cuEventCreate", &event, 2u);
  must(cuda, "cuMemsetD32Async", x.p, 0x40000000u, size_t(n), writer);  // 2.0
  if (dependency) {
    must(cuda, "cuEventRecord", event, writer);
    must(cuda, "cuStreamWaitEvent", reader, event, 0u);
  }
  launch("check_saxpy", 1, 64, 0, reader, 1.0f, x.p, y.p, n);
  must(cuda, "cuCtxSynchronize");
  return down<float>(y, reader)[7];
}

// The signal that ends a child which runs `f`.
int ends_by(const std::function<void()>& f) {
  fflush(stdout);
  const pid_t child = fork();
  if (!child) {
    if (!freopen("/dev/null", "w", stderr)) _exit(1);
    f();
    must(cuda, "cuCtxSynchronize");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void strictness() {
  const int lazy = getenv("STAND_IN_LAZY") ? atoi(getenv("STAND_IN_LAZY")) : 0;
  const bool fast = getenv("STAND_IN_FAST") && atoi(getenv("STAND_IN_FAST"));
  expect(race(true, true) == 2.0f && race(true, false) == 2.0f, "an event orders two streams");
  const float last_first = race(false, true), first_first = race(false, false);
  if (lazy) expect((lazy == 1 ? last_first : first_first) == 1.0f, "without the event the result is wrong (lazy)");
  else expect(last_first == 2.0f && first_first == 2.0f, "without lazy mode work runs in the order of the calls");

  const long n = 64;
  float host[64];
  const Bytes x = up(noises(n)), y = up(noises(n));
  if (!fast) {
    expect(ends_by([&] { launch("check_saxpy", 40, 1024, 0, nullptr, 1.0f, x.p, y.p, 40000L); }) == SIGABRT, "a kernel past the end of memory faults");
    expect(ends_by([&] {
      launch("check_saxpy", 1, 64, 0, nullptr, 1.0f, x.p, y.p, n);
      must(cuda, "cuCtxSynchronize");
      must(cuda, "cuMemFree_v2", x.p);
      volatile float* p = reinterpret_cast<float*>(x.p);
      host[0] = p[0];
    }) == SIGABRT, "a use after free faults");
  }
  expect(ends_by([&] { launch("check_deadlock", 1, 64, 0, nullptr, y.p); }) == SIGABRT, "a barrier that not all threads reach is a deadlock");
  void* params[] = {nullptr, nullptr, nullptr, nullptr};
  float one = 1;
  long count = n;
  Ptr wrong = reinterpret_cast<Ptr>(host);
  params[0] = &one, params[1] = &wrong, params[2] = const_cast<Ptr*>(&y.p), params[3] = &count;
  expect(call(cuda, "cuLaunchKernel", function("check_saxpy"), 1u, 1u, 1u, 64u, 1u, 1u, 0u, nullptr, static_cast<void**>(params), nullptr) == 1,
         "a host address as a kernel's argument is refused");
  expect(call(cuda, "cuMemcpyHtoD_v2", x.p, reinterpret_cast<const void*>(y.p), size_t(16)) == 1, "device memory as the source of a host copy is refused");
  expect(call(cuda, "cuMemcpyHtoD_v2", x.p, static_cast<const void*>(host), sizeof host + 4) == 1, "a copy past the end is refused");
  expect(call(cuda, "cuMemFree_v2", x.p) == 0 && call(cuda, "cuMemFree_v2", x.p) == 1, "a second free is refused");
  const Bytes fresh = space(16);
  expect(std::isnan(down<float>(fresh)[3]), "fresh memory is NaN");
}
}  // namespace

int main() {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  blas = dlopen("libcublas.so.13", RTLD_NOW);
  dnn = dlopen("libcudnn.so.9", RTLD_NOW);
  if (!cuda || !blas || !dnn) return printf("%s\n", dlerror()), 1;
  void* context;
  must(cuda, "cuInit", 0u);
  must(cuda, "cuDevicePrimaryCtxRetain", &context, 0);
  must(cuda, "cuCtxSetCurrent", context);
  roundings();
  kernels();
  products();
  convolutions();
  strictness();
  auto syncs = reinterpret_cast<unsigned long long (*)()>(dlsym(cuda, "stand_in_host_syncs"));
  expect(syncs() > 0, "host synchronizations are counted");
  printf("%s\n", failures ? "the self-test FAILED" : "the self-test passed");
  return failures != 0;
}
