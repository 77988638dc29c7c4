package pocketseg.live

import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelSpec
import pocketseg.model.Segmenter
import pocketseg.pixels.Box
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import java.nio.ByteBuffer
import kotlin.math.abs

/** What graphics cannot do, or no longer. */
class GraphicsError(message: String) : RuntimeException(message)

/**
 * Draws moving pictures in all their pixels, and the same as the [Pipeline] does by itself. Of one thread; after a
 * [GraphicsError] it is of no more use.
 */
interface Graphics {
    /** Takes a frame in: what [crop], in whole pixels of the upright frame, shows of it. It stays until the next. */
    fun take(picture: Picture, crop: Box)

    /** The frame at [size] as the CPU would make it for a model, packed pixels; kept for [lane]. */
    fun sample(lane: Int, size: Size, pixels: IntArray)

    /** The frame with the effect; each of [lanes] has its columns. */
    fun draw(look: Look, background: Background?, lanes: Array<Lane>)

    /** What was drawn goes to the screen. */
    fun present()

    /** What was drawn, packed pixels of the crop's size; colours are not multiplied with their opacity. */
    fun read(pixels: IntArray)

    fun close()
}

/**
 * How far [graphics] are from the [Pipeline]'s own pixels: the largest mean difference (0-255) of any effect on a small
 * turned and mirrored frame. A driver that refuses a shader throws [GraphicsError].
 */
fun difference(graphics: Graphics): Double {
    val stored = Size(96, 64)
    val picture = Picture()
    picture.frame(YuvLayout(stored, 96, 48, 1), 96 * 64, 48 * 32, Orientation(Turn.LEFT, mirror = true), YuvColours.FULL_601)
    for (i in 0 until stored.pixels) picture.y[i] = (60 + i % 96 + i / 96).toByte()
    for (i in 0 until 48 * 32) {
        picture.u[i] = (100 + i % 48).toByte()
        picture.v[i] = (140 - i / 48).toByte()
    }
    val behind = Background(IntArray(24) { 0xFF204060.toInt() + it }, Size(6, 4))
    val own = Pipeline(listOf(Disc), Meter())
    val other = Pipeline(listOf(Disc), Meter(), graphics)
    return Effect.entries.maxOf { effect ->
        val look = Look(effect, blur = 0.08f, refinement = 0.05f)
        own.render(picture, look, behind, 1.0)
        other.render(picture, look, behind, 1.0)
        meanDifference(own.output!!, other.output!!)
    }
}

/** Of all colours, each as far as it is seen, and of the opacity. */
fun meanDifference(one: IntArray, other: IntArray): Double {
    var sum = 0L
    for (i in one.indices) {
        val (a, b) = one[i] ushr 24 to (other[i] ushr 24)
        sum += abs(a - b)
        for (shift in 0..16 step 8) sum += abs((one[i] shr shift and 255) * a - (other[i] shr shift and 255) * b) / 255
    }
    return sum / (4.0 * one.size)
}

/** A model that sees a soft disc in every picture. */
private object Disc : Segmenter {
    override val spec = ModelSpec.parse(
        """{"input": {"height": 32, "width": 32, "dtype": "uint8", "scale": 0.0039215686, "zero_point": 0}, "output":
        {"height": 32, "width": 32, "classes": 1, "dtype": "uint8", "scale": 0.1, "zero_point": 128, "activation": "sigmoid"}}""", "disc",
    )
    override val device = Device(Delegate.CPU, 1)

    override fun run(input: ByteBuffer, output: ByteBuffer) {
        for (i in 0 until 32 * 32) {
            val (x, y) = i % 32 - 13 to i / 32 - 17
            output.put(i, (228 - x * x - y * y).coerceIn(28, 228).toByte())
        }
    }

    override fun close() = Unit
}
