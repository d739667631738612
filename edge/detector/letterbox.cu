/* The letterbox of edge/detector/letterbox.py as one kernel: frames as cameras give them in, the
 * network's uint8 input out, in one pass over memory.
 *
 * Compiled with nvcc when the plan is, and kept in the bundle. Everything up to the kernel is plain
 * C as well, so that the arithmetic is held against OpenCV's on machines without a GPU.
 */

#ifdef __CUDACC__
#define CORE static __device__ __forceinline__
#else
#define CORE static inline
#endif

#define MAX_FRAMES 32 /* of one launch; edge/detector/cuda.py says the same */

#define COEFFICIENT_BITS 11 /* as OpenCV's INTER_LINEAR on uint8 */
#define ONE (1 << COEFFICIENT_BITS)

/* Where one frame is and where it goes: its picture is resized to width x height pixels and put at
 * left, top of the network's input. Sizes are at most 16384, so that no product leaves 32 bits. */
typedef struct {
    const unsigned char *pixels; /* (frame_height, frame_width, 3) BGR */
    int frame_width, frame_height;
    int left, top, width, height;
} Frame;

typedef struct {
    Frame frame[MAX_FRAMES];
} Frames;

/* Two neighbours on one axis, and how much of ONE the second weighs. */
typedef struct {
    int first, second, weight;
} Tap;

/* Where on an axis of `from` pixels lies the centre of pixel `at` of `to`? At
 * (at + 1/2) * from / to - 1/2, here as a quotient of integers, so that nothing is lost. */
CORE Tap tap(int at, int from, int to)
{
    int numerator = (2 * at + 1) * from - to;
    int denominator = 2 * to;
    Tap found;
    if (numerator < 0) { /* before the first centre: the edge itself */
        found.first = found.second = found.weight = 0;
        return found;
    }
    found.first = numerator / denominator;
    found.weight = ((numerator - found.first * denominator) * ONE + to) / denominator;
    /* A neighbour that weighs nothing is not read: at 3 to 1 that is every other row of two. */
    found.second = found.weight && found.first + 1 < from ? found.first + 1 : found.first;
    return found;
}

CORE int blend(int first, int second, int weight)
{
    return first * (ONE - weight) + second * weight;
}

/* Write the three channels of pixel x, y of the network's input. */
CORE void letterbox_pixel(const Frame *frame, int x, int y, int pad, unsigned char *out)
{
    int column = x - frame->left;
    int row = y - frame->top;
    if (column < 0 || column >= frame->width || row < 0 || row >= frame->height) {
        out[0] = out[1] = out[2] = (unsigned char)pad;
        return;
    }
    Tap across = tap(column, frame->frame_width, frame->width);
    Tap down = tap(row, frame->frame_height, frame->height);
    const unsigned char *upper = frame->pixels + (long long)down.first * frame->frame_width * 3;
    const unsigned char *lower = frame->pixels + (long long)down.second * frame->frame_width * 3;
    int left = across.first * 3;
    int right = across.second * 3;
    for (int channel = 0; channel < 3; ++channel) {
        int above = blend(upper[left + channel], upper[right + channel], across.weight);
        int below = blend(lower[left + channel], lower[right + channel], across.weight);
        int sum = blend(above, below, down.weight);
        out[channel] = (unsigned char)((sum + (1 << (2 * COEFFICIENT_BITS - 1))) >> (2 * COEFFICIENT_BITS));
    }
}

#ifdef __CUDACC__
/* One thread per pixel of the network's input, one layer of the grid per frame of the batch. The
 * frames' places come by value: there is no other upload to wait for. */
extern "C" __global__ void letterbox(
    const __grid_constant__ Frames frames, unsigned char *out, int width, int height, int pad)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;
    long long pixel = ((long long)blockIdx.z * height + y) * width + x;
    letterbox_pixel(&frames.frame[blockIdx.z], x, y, pad, out + pixel * 3);
}
#endif
