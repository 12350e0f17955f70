// Batches of bytes: each picture is cut out of the rows that were decoded, mirrored where it says so, and filled up with
// black to the size of the batch.

struct Picture {
  long long at;      // of its first shown pixel, from the beginning of the table
  long long row;     // pixels of a row
  long long width, height;
  long long mirror;
};

// `bytes` begins with a table of pictures. Each (blockIdx.x, ·) writes a row of the batch, (B, h, w, 3).
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
