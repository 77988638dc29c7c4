package pocketseg.pixels

import kotlin.math.abs

/**
 * Calm masks of one video, as keras_models/smoothing.py: what stands still in the picture keeps up to a share of the mask
 * before, what moves gets the new one at once. [input]: the size of the picture that the model sees; [size]: of its mask.
 */
class TemporalSmoothing(private val input: Size, private val size: Size) {
    private val box = BoxMean(input)
    private val radius = maxOf(1, Math.rint(maxOf(input.width, input.height) / 100.0).toInt())
    private var brightness = FloatArray(input.pixels)
    private var before = FloatArray(input.pixels)
    private val previous = FloatArray(size.pixels)
    private var empty = true

    /** The next mask has nothing to do with those before. */
    fun reset() {
        empty = true
    }

    /** [picture]: the packed pixels of the input; [share] from 0 to below 1, 0 is off. */
    fun apply(mask: FloatArray, picture: IntArray, share: Float) {
        if (share == 0f) return reset()
        before = brightness.also { brightness = before }
        for (i in brightness.indices) brightness[i] = grey(picture[i])
        box.apply(brightness, radius, brightness)
        if (!empty) {
            for (y in 0 until size.height) for (x in 0 until size.width) {
                val i = y * size.width + x
                val at = if (size == input) i else y * input.height / size.height * input.width + x * input.width / size.width
                val still = 1 - abs(brightness[at] - before[at]) / MOTION
                if (still > 0) mask[i] += (previous[i] - mask[i]) * share * still
            }
        }
        mask.copyInto(previous)
        empty = false
    }

    private companion object {
        const val MOTION = 6f / 255 // change of brightness from which on the new mask is taken whole
    }
}

/** A steeper curve around [threshold]: sure pixels become opaque or clear, the edge keeps a soft step. */
fun sharpen(mask: FloatArray, threshold: Float, count: Int = mask.size) {
    for (i in 0 until count) mask[i] = ((mask[i] - threshold) * 2.5f + 0.5f).coerceIn(0f, 1f)
}

/** Which outer contours are filled; LARGEST alone is that of EOAM's poster. */
enum class Fill { NONE, ALL, LARGEST }

/** Fills what outer contours enclose: as `cv2.findContours(RETR_EXTERNAL)` and `drawContours(FILLED)`. */
class ContourFill(private val size: Size) {
    private val outside = BooleanArray(size.pixels)
    private val stack = IntArray(size.pixels)
    private val regions by lazy { IntArray(size.pixels) }

    /** Pixels of at least [threshold] are inside; what is enclosed by them becomes 1. */
    fun apply(mask: FloatArray, threshold: Float, fill: Fill) {
        if (fill == Fill.NONE) return
        outside.fill(false)
        var top = 0
        // Contours are 8-connected, so the background that reaches the border spreads over 4 neighbours.
        for (x in 0 until size.width) {
            top = visit(mask, threshold, x, top)
            top = visit(mask, threshold, (size.height - 1) * size.width + x, top)
        }
        for (y in 0 until size.height) {
            top = visit(mask, threshold, y * size.width, top)
            top = visit(mask, threshold, (y + 1) * size.width - 1, top)
        }
        while (top > 0) {
            val i = stack[--top]
            val x = i % size.width
            if (x > 0) top = visit(mask, threshold, i - 1, top)
            if (x < size.width - 1) top = visit(mask, threshold, i + 1, top)
            if (i >= size.width) top = visit(mask, threshold, i - size.width, top)
            if (i < size.pixels - size.width) top = visit(mask, threshold, i + size.width, top)
        }
        val largest = if (fill == Fill.LARGEST) largestRegion() else 0
        for (i in mask.indices) if (!outside[i] && mask[i] < threshold && (largest == 0 || regions[i] == largest)) mask[i] = 1f
    }

    /** The number in [regions] of that with the largest area; regions touch neither side nor corner. */
    private fun largestRegion(): Int {
        regions.fill(0)
        var region = 0
        for (start in regions.indices) {
            if (outside[start] || regions[start] != 0) continue
            region++
            var top = 0
            stack[top++] = start
            regions[start] = region
            while (top > 0) {
                val i = stack[--top]
                val (x, y) = i % size.width to i / size.width
                for (v in maxOf(0, y - 1)..minOf(size.height - 1, y + 1)) for (u in maxOf(0, x - 1)..minOf(size.width - 1, x + 1)) {
                    val next = v * size.width + u
                    if (outside[next] || regions[next] != 0) continue
                    regions[next] = region
                    stack[top++] = next
                }
            }
        }
        return largestArea(region)
    }

    /** `cv2.contourArea`: contours run through their pixels' middles, so four in a square hold 1, three a half. */
    private fun largestArea(count: Int): Int {
        val halves = IntArray(count + 1)
        for (y in 0 until size.height - 1) for (x in 0 until size.width - 1) {
            var (inside, region) = 0 to 0
            for (corner in 0..3) {
                val i = (y + corner / 2) * size.width + x + corner % 2
                if (outside[i]) continue
                inside++
                region = regions[i]
            }
            if (inside > 2) halves[region] += inside - 2
        }
        return (1..count).maxByOrNull { halves[it] } ?: 0
    }

    private fun visit(mask: FloatArray, threshold: Float, i: Int, top: Int): Int {
        if (outside[i] || mask[i] >= threshold) return top
        outside[i] = true
        stack[top] = i
        return top + 1
    }
}

/** Means over windows of 2 radius + 1, the picture mirrored at its borders: `cv2.blur`. */
class BoxMean(private val size: Size) {
    private val rows = FloatArray(size.pixels)
    private val sums = FloatArray(size.width)

    /** [out] may be [plane]. */
    fun apply(plane: FloatArray, radius: Int, out: FloatArray) {
        val width = size.width
        val height = size.height
        val share = 1f / (2 * radius + 1)
        for (y in 0 until height) {
            val start = y * width
            var sum = 0f
            for (x in -radius - 1 until radius) sum += plane[start + mirrored(x, width)]
            for (x in 0 until width) {
                sum += plane[start + mirrored(x + radius, width)] - plane[start + mirrored(x - radius - 1, width)]
                rows[start + x] = sum * share
            }
        }
        sums.fill(0f)
        for (y in -radius - 1 until radius) addRow(mirrored(y, height), 1f)
        for (y in 0 until height) {
            addRow(mirrored(y + radius, height), 1f)
            addRow(mirrored(y - radius - 1, height), -1f)
            for (x in 0 until width) out[y * width + x] = sums[x] * share
        }
    }

    private fun addRow(y: Int, sign: Float) {
        for (x in sums.indices) sums[x] += sign * rows[y * sums.size + x]
    }

    /** Outside indices come back from the border, whose own pixel is not repeated. */
    private fun mirrored(index: Int, length: Int): Int {
        if (index in 0 until length) return index
        if (length == 1) return 0
        val period = 2 * (length - 1)
        val folded = Math.floorMod(index, period)
        return if (folded < length) folded else period - folded
    }
}

/**
 * The fast guided filter (He and Sun 2015): a small mask brought to a photo's size, its edges drawn to the photo's.
 *
 * The linear model mask = a grey + b is fitted in windows of the small picture ([fit]) and applied to a photo of any
 * size ([draw]).
 */
class GuidedMask(small: Size) {
    private val box = BoxMean(small)
    private val grey = FloatArray(small.pixels)
    private val meanGrey = FloatArray(small.pixels)
    private val meanMask = FloatArray(small.pixels)
    private val slope = FloatArray(small.pixels)
    private val offset = FloatArray(small.pixels)

    /** [mask] and the packed pixels [photo] have the small size. */
    fun fit(mask: FloatArray, photo: IntArray, radius: Int, epsilon: Float) {
        for (i in grey.indices) {
            grey[i] = grey(photo[i])
            slope[i] = grey[i] * mask[i]
            offset[i] = grey[i] * grey[i]
        }
        box.apply(grey, radius, meanGrey)
        box.apply(mask, radius, meanMask)
        box.apply(slope, radius, slope)
        box.apply(offset, radius, offset)
        for (i in grey.indices) {
            val variance = maxOf(0f, offset[i] - meanGrey[i] * meanGrey[i])
            slope[i] = (slope[i] - meanGrey[i] * meanMask[i]) / (variance + epsilon)
            offset[i] = meanMask[i] - slope[i] * meanGrey[i]
        }
        box.apply(slope, radius, slope)
        box.apply(offset, radius, offset)
    }

    /** Rows [top] until [until] of [grid]'s target, the small size brought to the photo's; [photo] and [out] hold those rows. */
    fun draw(grid: Grid, photo: IntArray, slopes: FloatArray, out: FloatArray, top: Int = 0, until: Int = grid.target.height) {
        grid.sampleFloats(slope, slopes, top, until)
        grid.sampleFloats(offset, out, top, until)
        for (i in 0 until (until - top) * grid.target.width) out[i] = (out[i] + slopes[i] * grey(photo[i])).coerceIn(0f, 1f)
    }
}

/** BT.601 luma, 0-1. */
internal fun grey(pixel: Int) =
    (0.299f * (pixel shr 16 and 255) + 0.587f * (pixel shr 8 and 255) + 0.114f * (pixel and 255)) / 255f
