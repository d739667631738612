/* The letterbox of edge/detector/letterbox.py as one kernel: frames as cameras give them in, the
 * network's uint8 input out, in one pass over memory.
 *
 * Compiled with nvcc when the plan is, and kept in the bundle. Without a GPU it is compiled as C++,
 * and held against OpenCV's resize.
 */

#define MAX_FRAMES 32 /* of one launch; edge/detector/cuda.py says the same */
#define RUN 4 /* pixels of one thread: 12 bytes, which are three words; as there */

#define COEFFICIENT_BITS 11 /* as OpenCV's INTER_LINEAR on uint8 */
#define ONE (1 << COEFFICIENT_BITS)
#define HALF (1 << (2 * COEFFICIENT_BITS - 1))

#define CORE static __device__ __forceinline__

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

/* One axis: `from` pixels of the frame become `to` of the picture in the input. */
typedef struct {
    int from, to;
    float share; /* 1 / (2 * to) */
} Axis;

/* A pixel of the frame on one axis, and how much of ONE the next one weighs beside it. */
typedef struct {
    int first, weight;
} Tap;

CORE Axis axis(int from, int to)
{
    Axis made = {from, to, 1.0f / (float)(2 * to)};
    return made;
}

/* Where on the axis lies the centre of pixel `at` of the picture? At (at + 1/2) * from / to - 1/2: a
 * quotient of integers, divided as floats, which is many times faster, and then put right. */
CORE Tap tap(Axis axis, int at)
{
    int numerator = (2 * at + 1) * axis.from - axis.to;
    int denominator = 2 * axis.to;
    if (numerator < 0) /* before the first centre: the edge itself */
        numerator = 0;
    int first = (int)((float)numerator * axis.share);
    int rest = numerator - first * denominator;
    if (rest < 0) {
        --first;
        rest += denominator;
    } else if (rest >= denominator) {
        ++first;
        rest -= denominator;
    }
    int is_last = first + 1 >= axis.from;
    Tap found = {first, is_last ? 0 : (int)((float)rest * axis.share * ONE + 0.5f)};
    return found;
}

CORE int blend(int first, int second, int weight)
{
    return first * (ONE - weight) + second * weight;
}

/* Return one channel of a row, times ONE. A neighbour that weighs nothing is not read: at 3 to 1, as
 * from 1080p to 640, that is every one, and with those below it two rows of three. */
CORE int along(const unsigned char *first, int weight)
{
    return weight ? blend(first[0], first[3], weight) : first[0] * ONE;
}

/* Write a pixel of the picture: `first` is the upper left of the four that it lies between. */
CORE void pixel(const unsigned char *first, long long pitch, int across, int down, unsigned char *out)
{
#pragma unroll
    for (int channel = 0; channel < 3; ++channel) {
        int above = along(first + channel, across);
        int sum = down ? blend(above, along(first + pitch + channel, across), down) : above * ONE;
        out[channel] = (unsigned char)((sum + HALF) >> (2 * COEFFICIENT_BITS));
    }
}

/* Write RUN pixels of the network's input, from x, y on: the picture, or bars beside it. */
CORE void run(const Frame *frame, int x, int y, int pad, unsigned char *out)
{
    int row = y - frame->top;
    int in_rows = row >= 0 && row < frame->height;
    Axis columns = axis(frame->frame_width, frame->width);
    Tap down = tap(axis(frame->frame_height, frame->height), in_rows ? row : 0);
    long long pitch = (long long)frame->frame_width * 3;
    const unsigned char *upper = frame->pixels + down.first * pitch;
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
        int column = x + i - frame->left;
        if (in_rows && column >= 0 && column < frame->width) {
            Tap across = tap(columns, column);
            pixel(upper + across.first * 3, pitch, across.weight, down.weight, out + i * 3);
        } else {
            out[i * 3] = out[i * 3 + 1] = out[i * 3 + 2] = (unsigned char)pad;
        }
    }
}

/* One thread per RUN pixels of a row of the network's input, one layer of the grid per frame of the
 * batch. The frames' places come by value: there is no other upload to wait for. */
extern "C" __global__ void letterbox(
    const __grid_constant__ Frames frames, unsigned char *out, int width, int height, int pad)
{
    int x = (blockIdx.x * blockDim.x + threadIdx.x) * RUN;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;
    unsigned char made[RUN * 3];
    run(&frames.frame[blockIdx.z], x, y, pad, made);
    out += (((long long)blockIdx.z * height + y) * width + x) * 3;
    if (width % RUN == 0) { /* then every run is whole, and begins at a word */
        unsigned int *words = (unsigned int *)out;
#pragma unroll
        for (int i = 0; i < RUN * 3; i += 4)
            words[i / 4] = made[i] | made[i + 1] << 8 | made[i + 2] << 16
                           | (unsigned int)made[i + 3] << 24;
    } else {
        for (int i = 0; i < 3 * RUN && i < 3 * (width - x); ++i)
            out[i] = made[i];
    }
}
