package pocketseg.pixels

import kotlin.math.floor
import kotlin.math.round

private const val WEIGHT_BITS = 11 // as OpenCV's 8-bit bilinear resize
private const val ONE = 1 shl WEIGHT_BITS

/**
 * Where each column (or row) of a target reads: two neighbouring offsets into a plane and the weight of the second.
 *
 * A placement is a scaled permutation of the axes, so a column of the target fixes one coordinate of the source and a
 * row the other: the address of a pixel is the sum of a column's offset and a row's.
 */
class Taps(count: Int, scale: Double, start: Double, length: Int, stride: Int) {
    val first = IntArray(count)
    val second = IntArray(count)
    val nearest = IntArray(count)
    val weight = IntArray(count) // of `second`, 0..2048
    val fraction = FloatArray(count) // of `second`, 0..1

    init {
        for (i in 0 until count) {
            val place = (start + scale * i).coerceIn(0.0, length - 1.0).toFloat() // as OpenCV, to the last digit
            val low = minOf(floor(place).toInt(), maxOf(0, length - 2))
            first[i] = low * stride
            second[i] = minOf(low + 1, length - 1) * stride
            nearest[i] = minOf(length - 1, floor(place + 0.5f).toInt()) * stride
            fraction[i] = place - low
            weight[i] = round(fraction[i] * ONE).toInt() // ties to even
        }
    }
}

/** The taps of a target's columns and rows in one plane; all tables are made here, none while sampling. */
class Grid(val placement: Affine, val source: Size, val target: Size, rowStride: Int = source.width, pixelStride: Int = 1) {
    val columns: Taps
    val rows: Taps

    init {
        val turned = placement.xx == 0.0
        columns =
            if (turned) Taps(target.width, placement.yx, placement.y0, source.height, rowStride)
            else Taps(target.width, placement.xx, placement.x0, source.width, pixelStride)
        rows =
            if (turned) Taps(target.height, placement.xy, placement.x0, source.width, pixelStride)
            else Taps(target.height, placement.yy, placement.y0, source.height, rowStride)
    }

    companion object {
        /** Plain resizing, as `cv2.resize(INTER_LINEAR)`. */
        fun resize(source: Size, target: Size) = Grid(placement(source, Orientation(), null, target), source, target)

        /** The middle of the source, as much of it as has the target's shape. */
        fun cover(source: Size, target: Size) =
            Grid(placement(source, Orientation(), Box.centred(source, target.width.toDouble() / target.height), target), source, target)
    }
}

/** Bilinear samples of packed 0xAARRGGBB pixels, opaque: rows [top] until [until] of the target, from the start of [out]. */
fun Grid.sampleArgb(pixels: IntArray, out: IntArray, top: Int = 0, until: Int = target.height) {
    for (y in top until until) {
        val row0 = rows.first[y]
        val row1 = rows.second[y]
        val wy = rows.weight[y]
        for (x in 0 until target.width) {
            val c0 = columns.first[x]
            val c1 = columns.second[x]
            val wx = columns.weight[x]
            val p00 = pixels[row0 + c0]
            val p01 = pixels[row0 + c1]
            val p10 = pixels[row1 + c0]
            val p11 = pixels[row1 + c1]
            val red = mix(p00 shr 16 and 255, p01 shr 16 and 255, p10 shr 16 and 255, p11 shr 16 and 255, wx, wy)
            val green = mix(p00 shr 8 and 255, p01 shr 8 and 255, p10 shr 8 and 255, p11 shr 8 and 255, wx, wy)
            val blue = mix(p00 and 255, p01 and 255, p10 and 255, p11 and 255, wx, wy)
            out[(y - top) * target.width + x] = OPAQUE or (red shl 16) or (green shl 8) or blue
        }
    }
}

/** Bilinear samples of one float plane, rows as in [sampleArgb]. */
fun Grid.sampleFloats(plane: FloatArray, out: FloatArray, top: Int = 0, until: Int = target.height) {
    for (y in top until until) {
        val row0 = rows.first[y]
        val row1 = rows.second[y]
        val wy = rows.fraction[y]
        for (x in 0 until target.width) {
            val c0 = columns.first[x]
            val c1 = columns.second[x]
            val wx = columns.fraction[x]
            val above = plane[row0 + c0] + wx * (plane[row0 + c1] - plane[row0 + c0])
            val below = plane[row1 + c0] + wx * (plane[row1 + c1] - plane[row1 + c0])
            out[(y - top) * target.width + x] = above + wy * (below - above)
        }
    }
}

/** The nearest sample of one byte plane, for class numbers; rows as in [sampleArgb]. */
fun Grid.sampleNearest(plane: ByteArray, out: ByteArray, top: Int = 0, until: Int = target.height) {
    for (y in top until until) {
        val row = rows.nearest[y]
        for (x in 0 until target.width) out[(y - top) * target.width + x] = plane[row + columns.nearest[x]]
    }
}

/** What the numbers of a YUV picture mean; values in 1/65536. */
enum class YuvColours(
    internal val black: Int, internal val gain: Int,
    internal val redV: Int, internal val greenU: Int, internal val greenV: Int, internal val blueU: Int,
) {
    /** JPEG's, which cameras give: BT.601, 0-255. */
    FULL_601(0, 65536, 91881, -22554, -46802, 116130),

    /** BT.601, 16-235: old and small videos. */
    LIMITED_601(16, 76309, 104597, -25675, -53279, 132201),

    /** BT.709, 16-235: most videos of 720 lines and more. */
    LIMITED_709(16, 76309, 117489, -13975, -34925, 138438),
}

/**
 * The layout of a YUV 4:2:0 picture: one luma plane and two chroma planes of half its size (rounded up).
 *
 * Strides are in bytes. A picture of 10 bits has two bytes a sample: hand in the planes from the upper byte of the first.
 */
data class YuvLayout(
    val size: Size, val lumaStride: Int, val chromaStride: Int, val chromaPixelStride: Int, val lumaPixelStride: Int = 1,
) {
    val chroma get() = Size((size.width + 1) / 2, (size.height + 1) / 2)
}

/** Samples a YUV 4:2:0 picture: luma bilinear, chroma nearest (it has a quarter of the pixels to begin with). */
class YuvSampler(layout: YuvLayout, placement: Affine, target: Size) {
    private val luma = Grid(placement, layout.size, target, layout.lumaStride, layout.lumaPixelStride)
    private val chroma = Grid(
        Affine(0.5, 0.0, -0.25, 0.0, 0.5, -0.25).after(placement),
        layout.chroma, target, layout.chromaStride, layout.chromaPixelStride,
    )

    /** [out] gets opaque 0xAARRGGBB pixels of the target, row by row. */
    fun sample(yPlane: ByteArray, uPlane: ByteArray, vPlane: ByteArray, colours: YuvColours, out: IntArray) {
        val target = luma.target
        for (y in 0 until target.height) {
            val row0 = luma.rows.first[y]
            val row1 = luma.rows.second[y]
            val wy = luma.rows.weight[y]
            val chromaRow = chroma.rows.nearest[y]
            for (x in 0 until target.width) {
                val c0 = luma.columns.first[x]
                val c1 = luma.columns.second[x]
                val light = mix(
                    yPlane[row0 + c0].toInt() and 255, yPlane[row0 + c1].toInt() and 255,
                    yPlane[row1 + c0].toInt() and 255, yPlane[row1 + c1].toInt() and 255, luma.columns.weight[x], wy,
                )
                val at = chromaRow + chroma.columns.nearest[x]
                val u = (uPlane[at].toInt() and 255) - 128
                val v = (vPlane[at].toInt() and 255) - 128
                val grey = maxOf(0, light - colours.black) * colours.gain + 32768
                val red = byte(grey + colours.redV * v shr 16)
                val green = byte(grey + colours.greenU * u + colours.greenV * v shr 16)
                val blue = byte(grey + colours.blueU * u shr 16)
                out[y * target.width + x] = OPAQUE or (red shl 16) or (green shl 8) or blue
            }
        }
    }
}

/** Where a frame for an encoder goes: BT.601, 16-235; chroma is that of the upper left pixel of four. */
fun interface YuvSink {
    fun put(x: Int, y: Int, luma: Int)
}

/** The luma of each pixel and, for every second one of every second row, its chroma (at half the coordinates). */
fun toYuv(pixels: IntArray, width: Int, size: Size, luma: YuvSink, u: YuvSink, v: YuvSink) {
    for (y in 0 until size.height) for (x in 0 until size.width) {
        val pixel = pixels[y * width + x]
        val red = pixel shr 16 and 255
        val green = pixel shr 8 and 255
        val blue = pixel and 255
        luma.put(x, y, (16829 * red + 33039 * green + 6416 * blue + 32768 shr 16) + 16)
        if (x % 2 == 0 && y % 2 == 0) {
            u.put(x / 2, y / 2, byte((-9714 * red - 19070 * green + 28784 * blue + 32768 shr 16) + 128))
            v.put(x / 2, y / 2, byte((28784 * red - 24103 * green - 4681 * blue + 32768 shr 16) + 128))
        }
    }
}

internal const val OPAQUE = 0xFF shl 24

internal fun byte(value: Int) = if (value < 0) 0 else if (value > 255) 255 else value

/** The mean of four pixels by their weights, with every rounding that OpenCV does on the way. */
private fun mix(p00: Int, p01: Int, p10: Int, p11: Int, wx: Int, wy: Int): Int {
    val top = p00 * (ONE - wx) + p01 * wx shr 4
    val bottom = p10 * (ONE - wx) + p11 * wx shr 4
    return ((top * (ONE - wy) shr 16) + (bottom * wy shr 16) + 2) shr 2
}
