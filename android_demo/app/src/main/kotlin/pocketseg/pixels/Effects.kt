package pocketseg.pixels

import kotlin.math.roundToInt

/** Rows of [size] from column [from] to [until]: split screens draw each half with another model. */
class Columns(val size: Size, val from: Int, val until: Int)

/** `out` = [photo] where [mask] is 1, [background] where it is 0, a mixture between. */
fun Columns.blend(photo: IntArray, background: IntArray, mask: FloatArray, out: IntArray) {
    for (y in 0 until size.height) {
        for (i in y * size.width + from until y * size.width + until) out[i] = mix(background[i], photo[i], mask[i])
    }
}

/** The same with one colour behind. */
fun Columns.blend(photo: IntArray, background: Int, mask: FloatArray, out: IntArray) {
    for (y in 0 until size.height) {
        for (i in y * size.width + from until y * size.width + until) out[i] = mix(background, photo[i], mask[i])
    }
}

/** `out` = [photo], tinted in its class's colour where that class is not 0 (background). */
fun Columns.tint(photo: IntArray, classes: ByteArray, colours: IntArray, opacity: Float, out: IntArray) {
    for (y in 0 until size.height) {
        for (i in y * size.width + from until y * size.width + until) {
            val label = classes[i].toInt() and 255
            out[i] = if (label == 0) OPAQUE or photo[i] else mix(photo[i], colours[label], opacity)
        }
    }
}

/** `out` = [photo], tinted in one colour as far as [mask] reaches. */
fun Columns.tint(photo: IntArray, mask: FloatArray, colour: Int, opacity: Float, out: IntArray) {
    for (y in 0 until size.height) {
        for (i in y * size.width + from until y * size.width + until) {
            out[i] = mix(photo[i], colour, mask[i] * opacity)
        }
    }
}

private fun mix(low: Int, high: Int, share: Float): Int {
    val weight = (share * 256 + 0.5f).toInt()
    val rest = 256 - weight
    val red = (low shr 16 and 255) * rest + (high shr 16 and 255) * weight + 128 shr 8
    val green = (low shr 8 and 255) * rest + (high shr 8 and 255) * weight + 128 shr 8
    val blue = (low and 255) * rest + (high and 255) * weight + 128 shr 8
    return OPAQUE or (red shl 16) or (green shl 8) or blue
}

/** `out` = [photo], as opaque as [mask] says; colours are not multiplied with it. */
fun Columns.cutOut(photo: IntArray, mask: FloatArray, out: IntArray) {
    for (y in 0 until size.height) {
        for (i in y * size.width + from until y * size.width + until) {
            out[i] = (photo[i] and 0xFFFFFF) or ((mask[i] * 255 + 0.5f).toInt() shl 24)
        }
    }
}

/** A distinct opaque colour for each of 256 classes, class 0 black: Pascal VOC's, where a spec names none. */
fun palette(classes: Int) = IntArray(256) { label ->
    var colour = 0
    for (bit in 0 until 8) for (channel in 0 until 3) {
        colour = colour or ((label shr (3 * bit + channel) and 1) shl (7 - bit + 8 * (2 - channel)))
    }
    OPAQUE or (if (label == 1 && classes <= 2) 0x28C85A else colour)
}

/**
 * A blurred background without the person in it: colours count with 1 - mask, so nobody's outline glows.
 *
 * Works at a quarter of the size with three box means (nearly a Gaussian); the result is to be sampled bilinearly.
 */
class BackgroundBlur(private val size: Size) {
    val small = Size((size.width + 3) / 4, (size.height + 3) / 4)
    private val box = BoxMean(small)
    private val red = FloatArray(small.pixels)
    private val green = FloatArray(small.pixels)
    private val blue = FloatArray(small.pixels)
    private val weight = FloatArray(small.pixels)

    /** Of the [small] size. */
    val blurred = IntArray(small.pixels)

    /** [strength]: the Gaussian's sigma as a share of the longer side. */
    fun apply(photo: IntArray, mask: FloatArray, strength: Float) {
        // Three box means of radius r have together the variance r (r + 1) of a Gaussian.
        val radius = maxOf(1, (strength * maxOf(small.width, small.height) - 0.5f).roundToInt())
        for (y in 0 until small.height) for (x in 0 until small.width) gather(photo, mask, x, y)
        repeat(3) {
            box.apply(red, radius, red)
            box.apply(green, radius, green)
            box.apply(blue, radius, blue)
            box.apply(weight, radius, weight)
        }
        for (i in blurred.indices) {
            val share = 1 / weight[i]
            blurred[i] = byte((red[i] * share + 0.5f).toInt()) shl 16 or
                (byte((green[i] * share + 0.5f).toInt()) shl 8) or byte((blue[i] * share + 0.5f).toInt())
        }
    }

    /** The weighted sum of one block of 4x4 pixels; a little weight everywhere, so that no sum is empty. */
    private fun gather(photo: IntArray, mask: FloatArray, x: Int, y: Int) {
        var r = 0f
        var g = 0f
        var b = 0f
        var w = 0f
        for (v in 4 * y until minOf(size.height, 4 * y + 4)) {
            for (u in 4 * x until minOf(size.width, 4 * x + 4)) {
                val i = v * size.width + u
                val share = 1.001f - mask[i]
                r += share * (photo[i] shr 16 and 255)
                g += share * (photo[i] shr 8 and 255)
                b += share * (photo[i] and 255)
                w += share
            }
        }
        val i = y * small.width + x
        red[i] = r
        green[i] = g
        blue[i] = b
        weight[i] = w
    }
}
