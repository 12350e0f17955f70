// Assembles batches of images: crops each image from its decoded rows, flips it if requested, and pads it with black
// to the batch size.

struct Picture {
  long long at;      // offset of the first visible pixel, from the start of the table
  long long row;     // row length in pixels
  long long width, height;
  long long mirror;
};

// `bytes` starts with the table of images. Blocks (blockIdx.x, ·) write one row of the batch, (B, h, w, 3).
extern "C" __global__ void frames(const unsigned char* bytes, unsigned char* out, int h, int w) {
  const Picture picture = reinterpret_cast<const Picture*>(bytes)[blockIdx.x / h];
  const int y = blockIdx.x % h;
  const int width = picture.width;
  const bool shown = y < picture.height;
  const unsigned char* from = bytes + picture.at + 3 * y * picture.row;
  unsigned char* to = out + 3ll * w * blockIdx.x;
  for (int j = blockIdx.y * blockDim.x + threadIdx.x; j < 3 * w; j += gridDim.y * blockDim.x) {
    const int x = j / 3, channel = j - 3 * x;
    const int column = picture.mirror ? width - 1 - x : x;
    to[j] = shown && x < width ? from[3 * column + channel] : 0;
  }
}
