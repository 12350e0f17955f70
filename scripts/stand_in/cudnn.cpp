// cuDNN of the stand-in: the convolutions of the legacy API, computed by convolution.h. It is strict
// about descriptors, pointers and workspaces. STAND_IN_CUDNN=none makes every algorithm unsupported,
// STAND_IN_CUDNN=unfused the convolutions with bias and activation.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "convolution.h"

using namespace stand_in;

namespace {
enum Status { SUCCESS = 0, NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };
enum Kind : unsigned { TENSOR = 0x7E450001, FILTER, CONVOLUTION, ACTIVATION };

struct Algorithm {
  int code;
  bool deterministic, supported;
};
// In the order of preference that the queries answer; the fastest is not always deterministic.
const Algorithm FORWARD[] = {{1, true, true}, {7, false, true}, {0, true, true}, {3, true, false}};
const Algorithm DATA[] = {{0, false, true}, {1, true, true}, {5, true, true}, {3, true, false}};
const Algorithm FILTERS[] = {{3, false, true}, {1, true, true}, {0, false, true}, {2, true, false}};

const Algorithm* algorithms(Pass pass) { return pass == Pass::Forward ? FORWARD : pass == Pass::Data ? DATA : FILTERS; }

int refuse(int status, const std::string& who, const std::string& why) {
  stand_in_complain("%s: %s", who.c_str(), why.c_str());
  return status;
}

Type type_of(int cudnn_data_type) {
  return cudnn_data_type == 0 ? Type::F32 : cudnn_data_type == 1 ? Type::F64 : cudnn_data_type == 2 ? Type::F16
       : cudnn_data_type == 9 ? Type::BF16 : Type::None;
}
}  // namespace

struct cudnnContext {
  CUstream_st* stream = nullptr;
};
struct cudnnTensorStruct {
  unsigned kind = TENSOR;
  Tensor4 t;
};
struct cudnnFilterStruct {
  unsigned kind = FILTER;
  Tensor4 t;
  bool last = false;
};
struct cudnnConvolutionStruct {
  unsigned kind = CONVOLUTION;
  Convolution c;
};
struct cudnnActivationStruct {
  unsigned kind = ACTIVATION;
  int mode = -1;
};
struct AlgorithmResult {  // cudnnConvolution...AlgoPerf_t
  int algorithm, status;
  float time;
  size_t memory;
  int deterministic, math, reserved[3];
};

using Handle = cudnnContext*;
using TensorD = cudnnTensorStruct*;
using FilterD = cudnnFilterStruct*;
using ConvD = cudnnConvolutionStruct*;

namespace {
void dense(Tensor4& t, bool last) {
  const long long c = t.dims[1], h = t.dims[2], w = t.dims[3];
  const long long plain[4] = {c * h * w, h * w, w, 1}, nhwc[4] = {h * w * c, 1, w * c, c};
  memcpy(t.strides, last ? nhwc : plain, sizeof t.strides);
}

int set_dims(Tensor4& t, int type, int n, int c, int h, int w, const char* who) {
  t.type = type_of(type);
  const int dims[4] = {n, c, h, w};
  memcpy(t.dims, dims, sizeof dims);
  if (t.type == Type::None) return refuse(NOT_SUPPORTED, who, "number type " + std::to_string(type));
  for (int d : dims)
    if (d <= 0) return refuse(BAD_PARAM, who, "a dimension is not above 0");
  return SUCCESS;
}

int out_size(const Convolution& c, const Tensor4& x, const Tensor4& w, int axis) {
  const int reach = (w.dims[2 + axis] - 1) * c.dilation[axis] + 1;
  const int room = x.dims[2 + axis] + 2 * c.pad[axis] - reach;
  return room < 0 ? 0 : room / c.stride[axis] + 1;
}

// Three descriptors that belong together.
struct Problem {
  Pass pass;
  TensorD x;
  FilterD w;
  ConvD conv;
  TensorD y;
};

int check_shapes(const Problem& p, const std::string& who) {
  const Tensor4 &x = p.x->t, &w = p.w->t, &y = p.y->t;
  const Convolution& c = p.conv->c;
  if (x.type != w.type || x.type != y.type) return refuse(BAD_PARAM, who, "x, w and y differ in number type");
  if (x.dims[1] != w.dims[1] * c.groups)
    return refuse(BAD_PARAM, who, "x has " + std::to_string(x.dims[1]) + " channels, the filter asks for " +
                  std::to_string(w.dims[1]) + " in each of " + std::to_string(c.groups) + " groups");
  if (w.dims[0] % c.groups) return refuse(BAD_PARAM, who, "the groups do not divide the output channels");
  if (y.dims[0] != x.dims[0] || y.dims[1] != w.dims[0] || y.dims[2] != out_size(c, x, w, 0) || y.dims[3] != out_size(c, x, w, 1))
    return refuse(BAD_PARAM, who, "y has not the shape that x, the filter and the convolution give");
  return SUCCESS;
}

int check(Handle h, const Problem& p, const std::string& who) {
  if (!h) return NOT_INITIALIZED;
  if (!p.x || !p.w || !p.conv || !p.y) return refuse(BAD_PARAM, who, "a descriptor is null");
  if (p.x->kind != TENSOR || p.y->kind != TENSOR || p.w->kind != FILTER || p.conv->kind != CONVOLUTION)
    return refuse(BAD_PARAM, who, "a descriptor is of another kind, or destroyed");
  if (int bad = check_shapes(p, who)) return bad;
  const bool f64 = p.x->t.type == Type::F64, last = p.x->t.channels_last() || p.y->t.channels_last();
  if (p.conv->c.compute != (f64 ? 1 : 0)) return refuse(NOT_SUPPORTED, who, "the sums must be f32, or f64 for f64 data");
  if (f64 && (last || p.w->last)) return refuse(NOT_SUPPORTED, who, "f64 with the channels last");
  const bool x_first = p.x->t.dims[1] > 1 && p.x->t.strides[1] != 1, y_first = p.y->t.dims[1] > 1 && p.y->t.strides[1] != 1;
  if (p.w->last && (x_first || y_first)) return refuse(NOT_SUPPORTED, who, "an NHWC filter with NCHW data");
  return SUCCESS;
}

bool refuses(const char* what) {
  const char* v = getenv("STAND_IN_CUDNN");
  return v && !strcmp(v, what);
}
bool none() { return refuses("none"); }

const Algorithm* find(Pass pass, int code) {
  if (none()) return nullptr;
  const Algorithm* all = algorithms(pass);
  for (int i = 0; i < 4; ++i)
    if (all[i].code == code && all[i].supported) return all + i;
  return nullptr;
}

// Never 0, so that a caller has to provide it; more for the algorithms with a higher number.
size_t workspace_bytes(const Problem& p, int code) {
  return 256 + 512 * static_cast<size_t>(code) + p.y->t.bytes() / 8 / 256 * 256;
}

// The answers of a query; `limit` is the workspace a caller offers, or no limit.
int query(Handle h, const Problem& p, int asked, int* returned, void* out, const std::string& who, size_t limit = ~size_t(0)) {
  if (int bad = check(h, p, who)) return bad;
  if (!returned || !out || asked < 1) return refuse(BAD_PARAM, who, "no room for the answers");
  auto* results = static_cast<AlgorithmResult*>(out);
  const Algorithm* all = algorithms(p.pass);
  int n = 0;
  for (int i = 0; i < 4 && n < asked; ++i) {
    const bool works = all[i].supported && !none();
    const size_t bytes = works ? workspace_bytes(p, all[i].code) : 0;
    if (bytes > limit) continue;
    results[n] = {all[i].code, works ? SUCCESS : NOT_SUPPORTED, works ? 0.01f * float(n + 1) : -1.0f, bytes, all[i].deterministic, 1, {}};
    ++n;
  }
  *returned = n;
  return SUCCESS;
}

int workspace(Handle h, const Problem& p, int code, size_t* bytes, const std::string& who) {
  if (int bad = check(h, p, who)) return bad;
  if (!find(p.pass, code)) return refuse(NOT_SUPPORTED, who, "algorithm " + std::to_string(code));
  *bytes = workspace_bytes(p, code);
  return SUCCESS;
}

double scalar(const void* p, Type t) { return t == Type::F64 ? *static_cast<const double*>(p) : *static_cast<const float*>(p); }

bool good(const void* p, const Tensor4& t, const std::string& who) {
  if (reinterpret_cast<uintptr_t>(p) % size_of(t.type)) return refuse(1, who, "a pointer is not aligned") == 0;
  return stand_in_on_device(p, t.bytes(), who.c_str());
}

struct Call {
  const void *x, *w, *y;
  void* out;
  int code;
  void* space;
  size_t bytes;
};

// What all three passes check before they run.
int check_call(Handle h, const Problem& p, const Call& c, const std::string& who) {
  if (int bad = check(h, p, who)) return bad;
  const Algorithm* a = find(p.pass, c.code);
  if (!a) return refuse(NOT_SUPPORTED, who, "algorithm " + std::to_string(c.code));
  if (!c.x || !c.w || !c.y) return refuse(BAD_PARAM, who, "a data pointer is null");
  if (c.bytes < workspace_bytes(p, c.code))
    return refuse(BAD_PARAM, who, "a workspace of " + std::to_string(c.bytes) + " bytes, " +
                  std::to_string(workspace_bytes(p, c.code)) + " are needed");
  if (!stand_in_on_device(c.space, c.bytes, (who + " (workspace)").c_str())) return BAD_PARAM;
  if (!good(c.x, p.x->t, who + " (x)") || !good(c.w, p.w->t, who + " (w)") || !good(c.y, p.y->t, who + " (y)")) return BAD_PARAM;
  return SUCCESS;
}

bool backwards(const Problem& p, int code) {
  static unsigned calls = 0;
  return !find(p.pass, code)->deterministic && ++calls % 2 == 0;
}

template <class Acc>
Work plain_work(const Problem& p, const Call& c, double alpha, double beta) {
  const Tensor4 x = p.x->t, w = p.w->t, y = p.y->t, to = p.pass == Pass::Forward ? y : p.pass == Pass::Data ? x : w;
  const Convolution conv = p.conv->c;
  const bool turned = backwards(p, c.code);
  const Pass pass = p.pass;
  return [=] {
    memset(c.space, 0xA5, c.bytes);
    convolve<Acc>(pass, x, c.x, w, c.w, y, c.y, conv, turned, [&](size_t at, int, Acc v) {
      v *= static_cast<Acc>(alpha);
      if (beta != 0.0) v += static_cast<Acc>(beta) * get<Acc>(c.out, to.type, at);
      put(c.out, to.type, at, v);
    });
  };
}

int run(Handle h, const Problem& p, const Call& c, const void* alpha, const void* beta, const char* who) {
  if (int bad = check_call(h, p, c, who)) return bad;
  if (!alpha || !beta) return refuse(BAD_PARAM, who, "alpha or beta is null");
  const Type t = p.x->t.type;
  const double a = scalar(alpha, t), b = scalar(beta, t);
  stand_in_enqueue(h->stream, who, t == Type::F64 ? plain_work<double>(p, c, a, b) : plain_work<float>(p, c, a, b));
  return SUCCESS;
}
}  // namespace

#define API extern "C" STAND_IN_API int
// ---- handles and descriptors -----------------------------------------------------------------
API cudnnCreate(Handle* h) { *h = new cudnnContext; return SUCCESS; }
API cudnnDestroy(Handle h) { delete h; return SUCCESS; }
API cudnnSetStream(Handle h, CUstream_st* s) { h->stream = s; return SUCCESS; }
API cudnnGetStream(Handle h, CUstream_st** s) { *s = h->stream; return SUCCESS; }
extern "C" STAND_IN_API size_t cudnnGetVersion() { return 91900; }
extern "C" STAND_IN_API size_t cudnnGetCudartVersion() { return 13000; }
extern "C" STAND_IN_API const char* cudnnGetErrorString(int s) {
  return s == SUCCESS ? "CUDNN_STATUS_SUCCESS" : s == BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM"
       : s == NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS_NOT_INITIALIZED";
}
API cudnnOpsVersionCheck() { return SUCCESS; }
API cudnnCnnVersionCheck() { return SUCCESS; }
API cudnnAdvVersionCheck() { return SUCCESS; }

#define STAND_IN_DESCRIPTOR(NAME)                                   \
  API cudnnCreate##NAME##Descriptor(cudnn##NAME##Struct** d) {      \
    *d = new cudnn##NAME##Struct;                                   \
    stand_in_tally("cuDNN descriptors", 1);                         \
    return SUCCESS;                                                 \
  }                                                                 \
  API cudnnDestroy##NAME##Descriptor(cudnn##NAME##Struct* d) {      \
    if (d) d->kind = 0;                                             \
    if (d) stand_in_tally("cuDNN descriptors", -1);                 \
    delete d;                                                       \
    return SUCCESS;                                                 \
  }
STAND_IN_DESCRIPTOR(Tensor)
STAND_IN_DESCRIPTOR(Filter)
STAND_IN_DESCRIPTOR(Convolution)
STAND_IN_DESCRIPTOR(Activation)

API cudnnSetTensor4dDescriptor(TensorD d, int format, int type, int n, int c, int h, int w) {
  if (format > 1) return refuse(NOT_SUPPORTED, "cudnnSetTensor4dDescriptor", "this format");
  const int bad = set_dims(d->t, type, n, c, h, w, "cudnnSetTensor4dDescriptor");
  dense(d->t, format == 1);
  return bad;
}
API cudnnSetTensor4dDescriptorEx(TensorD d, int type, int n, int c, int h, int w, int ns, int cs, int hs, int ws) {
  const long long strides[4] = {ns, cs, hs, ws};
  memcpy(d->t.strides, strides, sizeof strides);
  return set_dims(d->t, type, n, c, h, w, "cudnnSetTensor4dDescriptorEx");
}
API cudnnSetTensorNdDescriptor(TensorD d, int type, int count, const int* dims, const int* s) {
  if (count != 4) return refuse(NOT_SUPPORTED, "cudnnSetTensorNdDescriptor", "only 4 dimensions");
  return cudnnSetTensor4dDescriptorEx(d, type, dims[0], dims[1], dims[2], dims[3], s[0], s[1], s[2], s[3]);
}
API cudnnSetTensorNdDescriptorEx(TensorD d, int format, int type, int count, const int* dims) {
  if (count != 4) return refuse(NOT_SUPPORTED, "cudnnSetTensorNdDescriptorEx", "only 4 dimensions");
  return cudnnSetTensor4dDescriptor(d, format, type, dims[0], dims[1], dims[2], dims[3]);
}
API cudnnSetFilter4dDescriptor(FilterD d, int type, int format, int k, int c, int h, int w) {
  if (format > 1) return refuse(NOT_SUPPORTED, "cudnnSetFilter4dDescriptor", "this format");
  const int bad = set_dims(d->t, type, k, c, h, w, "cudnnSetFilter4dDescriptor");
  dense(d->t, d->last = format == 1);
  return bad;
}
API cudnnSetFilterNdDescriptor(FilterD d, int type, int format, int count, const int* dims) {
  if (count != 4) return refuse(NOT_SUPPORTED, "cudnnSetFilterNdDescriptor", "only 4 dimensions");
  return cudnnSetFilter4dDescriptor(d, type, format, dims[0], dims[1], dims[2], dims[3]);
}
API cudnnSetConvolution2dDescriptor(ConvD d, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int compute) {
  if (ph < 0 || pw < 0 || sh < 1 || sw < 1 || dh < 1 || dw < 1)
    return refuse(BAD_PARAM, "cudnnSetConvolution2dDescriptor", "a pad below 0, or a stride or dilation below 1");
  d->c = {{ph, pw}, {sh, sw}, {dh, dw}, 1, mode == 0, compute};
  return SUCCESS;
}
API cudnnSetConvolutionNdDescriptor(ConvD d, int count, const int* p, const int* s, const int* l, int mode, int compute) {
  if (count != 2) return refuse(NOT_SUPPORTED, "cudnnSetConvolutionNdDescriptor", "only 2 dimensions");
  return cudnnSetConvolution2dDescriptor(d, p[0], p[1], s[0], s[1], l[0], l[1], mode, compute);
}
API cudnnSetConvolutionGroupCount(ConvD d, int groups) {
  if (groups < 1) return refuse(BAD_PARAM, "cudnnSetConvolutionGroupCount", "fewer than 1 group");
  d->c.groups = groups;
  return SUCCESS;
}
API cudnnSetConvolutionMathType(ConvD, int type) { return type >= 0 && type <= 3 ? SUCCESS : BAD_PARAM; }
API cudnnSetConvolutionReorderType(ConvD, int) { return SUCCESS; }
API cudnnGetConvolution2dForwardOutputDim(ConvD conv, TensorD x, FilterD w, int* n, int* c, int* h, int* v) {
  *n = x->t.dims[0];
  *c = w->t.dims[0];
  *h = out_size(conv->c, x->t, w->t, 0);
  *v = out_size(conv->c, x->t, w->t, 1);
  return SUCCESS;
}
API cudnnSetActivationDescriptor(cudnnActivationStruct* d, int mode, int, double) { d->mode = mode; return SUCCESS; }

// ---- which algorithm -------------------------------------------------------------------------
#define STAND_IN_QUERIES(NAME, A, B, C, PROBLEM)                                                                     \
  API cudnnGetConvolution##NAME##AlgorithmMaxCount(Handle, int* n) { *n = 4; return SUCCESS; }                       \
  API cudnnGetConvolution##NAME##Algorithm_v7(Handle h, A, B, ConvD conv, C, int asked, int* returned, void* out) {  \
    return query(h, PROBLEM, asked, returned, out, "cudnnGetConvolution" #NAME "Algorithm_v7");                      \
  }                                                                                                                  \
  API cudnnFindConvolution##NAME##Algorithm(Handle h, A, B, ConvD conv, C, int asked, int* returned, void* out) {    \
    return query(h, PROBLEM, asked, returned, out, "cudnnFindConvolution" #NAME "Algorithm");                        \
  }                                                                                                                  \
  API cudnnGetConvolution##NAME##WorkspaceSize(Handle h, A, B, ConvD conv, C, int code, size_t* bytes) {             \
    return workspace(h, PROBLEM, code, bytes, "cudnnGetConvolution" #NAME "WorkspaceSize");                          \
  }
STAND_IN_QUERIES(Forward, TensorD x, FilterD w, TensorD y, (Problem{Pass::Forward, x, w, conv, y}))
STAND_IN_QUERIES(BackwardData, FilterD w, TensorD y, TensorD x, (Problem{Pass::Data, x, w, conv, y}))
STAND_IN_QUERIES(BackwardFilter, TensorD x, TensorD y, FilterD w, (Problem{Pass::Filter, x, w, conv, y}))

// A search runs the algorithms, so what the output held is lost: NaN here.
static int search(Handle h, const Problem& p, const void* a, const void* b, void* out, const Tensor4& to, int asked,
                  int* returned, void* results, void* space, size_t bytes, const char* who) {
  if (int bad = query(h, p, asked, returned, results, who, bytes)) return bad;
  if (!a || !b || !good(out, to, who) || (bytes && !stand_in_on_device(space, bytes, who))) return BAD_PARAM;
  if (to.bytes() == size_t(to.dims[0]) * to.dims[1] * to.dims[2] * to.dims[3] * size_of(to.type))
    stand_in_enqueue(h->stream, who, [=] { memset(out, 0xFF, to.bytes()); });
  return SUCCESS;
}
API cudnnFindConvolutionForwardAlgorithmEx(Handle h, TensorD xd, const void* x, FilterD wd, const void* w, ConvD conv, TensorD yd,
                                           void* y, int asked, int* returned, void* out, void* space, size_t bytes) {
  return search(h, {Pass::Forward, xd, wd, conv, yd}, x, w, y, yd->t, asked, returned, out, space, bytes, "cudnnFindConvolutionForwardAlgorithmEx");
}
API cudnnFindConvolutionBackwardDataAlgorithmEx(Handle h, FilterD wd, const void* w, TensorD yd, const void* y, ConvD conv, TensorD xd,
                                                void* x, int asked, int* returned, void* out, void* space, size_t bytes) {
  return search(h, {Pass::Data, xd, wd, conv, yd}, w, y, x, xd->t, asked, returned, out, space, bytes, "cudnnFindConvolutionBackwardDataAlgorithmEx");
}
API cudnnFindConvolutionBackwardFilterAlgorithmEx(Handle h, TensorD xd, const void* x, TensorD yd, const void* y, ConvD conv, FilterD wd,
                                                  void* w, int asked, int* returned, void* out, void* space, size_t bytes) {
  return search(h, {Pass::Filter, xd, wd, conv, yd}, x, y, w, wd->t, asked, returned, out, space, bytes, "cudnnFindConvolutionBackwardFilterAlgorithmEx");
}

// ---- the convolutions ------------------------------------------------------------------------
API cudnnConvolutionForward(Handle h, const void* alpha, TensorD xd, const void* x, FilterD wd, const void* w, ConvD conv, int code,
                            void* space, size_t bytes, const void* beta, TensorD yd, void* y) {
  return run(h, {Pass::Forward, xd, wd, conv, yd}, {x, w, y, y, code, space, bytes}, alpha, beta, "cudnnConvolutionForward");
}
API cudnnConvolutionBackwardData(Handle h, const void* alpha, FilterD wd, const void* w, TensorD yd, const void* y, ConvD conv, int code,
                                 void* space, size_t bytes, const void* beta, TensorD xd, void* x) {
  return run(h, {Pass::Data, xd, wd, conv, yd}, {x, w, y, x, code, space, bytes}, alpha, beta, "cudnnConvolutionBackwardData");
}
API cudnnConvolutionBackwardFilter(Handle h, const void* alpha, TensorD xd, const void* x, TensorD yd, const void* y, ConvD conv, int code,
                                   void* space, size_t bytes, const void* beta, FilterD wd, void* w) {
  return run(h, {Pass::Filter, xd, wd, conv, yd}, {x, w, y, w, code, space, bytes}, alpha, beta, "cudnnConvolutionBackwardFilter");
}

template <class Acc>
static Work fused_work(const Problem& p, const Call& c, double a1, double a2, const Tensor4& zt, const void* z, const Tensor4& bt, const void* bias, bool relu) {
  const Tensor4 x = p.x->t, w = p.w->t, y = p.y->t;
  const Convolution conv = p.conv->c;
  return [=] {
    memset(c.space, 0xA5, c.bytes);
    convolve<Acc>(Pass::Forward, x, c.x, w, c.w, y, c.y, conv, false, [&](size_t at, int channel, Acc v) {
      v = static_cast<Acc>(a1) * v + get<Acc>(bias, bt.type, bt.at(0, channel, 0, 0));
      if (a2 != 0.0) v += static_cast<Acc>(a2) * get<Acc>(z, zt.type, at);
      put(c.out, y.type, at, relu && v < Acc(0) ? Acc(0) : v);
    });
  };
}
// y = act(alpha1 * conv(x, w) + alpha2 * z + bias)
API cudnnConvolutionBiasActivationForward(Handle h, const void* alpha1, TensorD xd, const void* x, FilterD wd, const void* w, ConvD conv,
                                          int code, void* space, size_t bytes, const void* alpha2, TensorD zd, const void* z, TensorD bd,
                                          const void* bias, cudnnActivationStruct* act, TensorD yd, void* y) {
  const char* who = "cudnnConvolutionBiasActivationForward";
  const Problem p{Pass::Forward, xd, wd, conv, yd};
  const Call c{x, w, y, y, code, space, bytes};
  if (int bad = check_call(h, p, c, who)) return bad;
  if (refuses("unfused")) return NOT_SUPPORTED;
  if (!zd || !bd || !act || !alpha1 || !alpha2 || zd->kind != TENSOR || bd->kind != TENSOR || act->kind != ACTIVATION)
    return refuse(BAD_PARAM, who, "a descriptor or scalar is null or of another kind");
  const Tensor4 &b = bd->t, &t = yd->t;
  if (b.type != t.type || b.dims[0] != 1 || b.dims[1] != t.dims[1] || b.dims[2] != 1 || b.dims[3] != 1)
    return refuse(BAD_PARAM, who, "the bias must be (1, channels of y, 1, 1) of the type of y");
  if (memcmp(zd->t.dims, t.dims, sizeof t.dims) || memcmp(zd->t.strides, t.strides, sizeof t.strides) || zd->t.type != t.type)
    return refuse(BAD_PARAM, who, "z must be laid out as y");
  if (act->mode != 1 && act->mode != 5) return refuse(NOT_SUPPORTED, who, "only ReLU and the identity");
  if (act->mode == 5 && code != 1) return refuse(NOT_SUPPORTED, who, "the identity needs IMPLICIT_PRECOMP_GEMM");
  if (!bias || !good(bias, b, who) || !z || !good(z, zd->t, who)) return BAD_PARAM;
  const double a1 = scalar(alpha1, t.type), a2 = scalar(alpha2, t.type);
  stand_in_enqueue(h->stream, who, t.type == Type::F64 ? fused_work<double>(p, c, a1, a2, zd->t, z, b, bias, act->mode == 1)
                                                       : fused_work<float>(p, c, a1, a2, zd->t, z, b, bias, act->mode == 1));
  return SUCCESS;
}

// c = alpha * a + beta * c; a dimension of a that is 1 is repeated.
API cudnnAddTensor(Handle h, const void* alpha, TensorD ad, const void* a, const void* beta, TensorD cd, void* c) {
  const char* who = "cudnnAddTensor";
  if (!h || !ad || !cd || !alpha || !beta || !a || !c) return refuse(BAD_PARAM, who, "a null argument");
  const Tensor4 from = ad->t, to = cd->t;
  if (from.type != to.type) return refuse(BAD_PARAM, who, "the tensors differ in number type");
  for (int i = 0; i < 4; ++i)
    if (from.dims[i] != 1 && from.dims[i] != to.dims[i]) return refuse(BAD_PARAM, who, "the shapes do not fit");
  if (!good(a, from, who) || !good(c, to, who)) return BAD_PARAM;
  const double k = scalar(alpha, to.type), l = scalar(beta, to.type);
  stand_in_enqueue(h->stream, who, [=] {
    Convolver<double>::each(to, [&](int n, int ch, int y, int x) {
      const size_t at = to.at(n, ch, y, x);
      const int i[4] = {from.dims[0] == 1 ? 0 : n, from.dims[1] == 1 ? 0 : ch, from.dims[2] == 1 ? 0 : y, from.dims[3] == 1 ? 0 : x};
      const double old = l != 0.0 ? l * get<double>(c, to.type, at) : 0.0;
      put(c, to.type, at, k * get<double>(a, from.type, from.at(i[0], i[1], i[2], i[3])) + old);
    });
  });
  return SUCCESS;
}
