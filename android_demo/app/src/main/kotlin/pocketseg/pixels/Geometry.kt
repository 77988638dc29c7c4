package pocketseg.pixels

import kotlin.math.floor
import kotlin.math.roundToInt

data class Size(val width: Int, val height: Int) {
    val pixels get() = width * height
    val turned get() = Size(height, width)

    /** The largest size of this shape whose longer side is at most [side]; never larger than this one. */
    fun within(side: Int): Size {
        val scale = minOf(1.0, side.toDouble() / maxOf(width, height))
        return Size(maxOf(1, (width * scale).roundToInt()), maxOf(1, (height * scale).roundToInt()))
    }
}

/** A part of an upright picture, in pixels. */
data class Box(val left: Double, val top: Double, val width: Double, val height: Double) {
    /** The same in whole pixels. */
    fun whole(): Box {
        val (w, h) = floor(width).coerceAtLeast(1.0) to floor(height).coerceAtLeast(1.0)
        return Box(floor(left + (width - w) / 2), floor(top + (height - h) / 2), w, h)
    }

    companion object {
        fun all(size: Size) = Box(0.0, 0.0, size.width.toDouble(), size.height.toDouble())

        /** The largest centred box of [size] whose width / height is [aspect]. */
        fun centred(size: Size, aspect: Double): Box {
            val width = minOf(size.width.toDouble(), size.height * aspect)
            val height = minOf(size.height.toDouble(), size.width / aspect)
            return Box((size.width - width) / 2, (size.height - height) / 2, width, height)
        }
    }
}

/** A clockwise turn. */
enum class Turn(val degrees: Int) {
    NONE(0), RIGHT(90), HALF(180), LEFT(270);

    companion object {
        /** Any multiple of 90, negative ones too. */
        fun of(degrees: Int): Turn = entries.first { it.degrees == Math.floorMod(degrees, 360) }
    }
}

/** What makes a stored picture upright: a clockwise turn, then a mirroring left to right. */
data class Orientation(val turn: Turn = Turn.NONE, val mirror: Boolean = false) {
    fun upright(stored: Size) = if (turn == Turn.RIGHT || turn == Turn.LEFT) stored.turned else stored

    companion object {
        /** The EXIF orientation tag, 1 to 8; what is not one of these counts as 1. */
        fun ofExif(tag: Int) = when (tag) {
            2 -> Orientation(Turn.NONE, true)
            3 -> Orientation(Turn.HALF)
            4 -> Orientation(Turn.HALF, true)
            5 -> Orientation(Turn.RIGHT, true)
            6 -> Orientation(Turn.RIGHT)
            7 -> Orientation(Turn.LEFT, true)
            8 -> Orientation(Turn.LEFT)
            else -> Orientation()
        }

        /** A camera's picture on a display turned by [displayDegrees]; a front camera's is shown as in a mirror. */
        fun ofCamera(sensorDegrees: Int, displayDegrees: Int, front: Boolean) =
            Orientation(Turn.of(if (front) sensorDegrees + displayDegrees else sensorDegrees - displayDegrees), front)
    }
}

/** x' = xx x + xy y + x0, y' = yx x + yy y + y0. */
data class Affine(
    val xx: Double, val xy: Double, val x0: Double,
    val yx: Double, val yy: Double, val y0: Double,
) {
    /** First [first], then this. */
    fun after(first: Affine) = Affine(
        xx * first.xx + xy * first.yx, xx * first.xy + xy * first.yy, xx * first.x0 + xy * first.y0 + x0,
        yx * first.xx + yy * first.yx, yx * first.xy + yy * first.yy, yx * first.x0 + yy * first.y0 + y0,
    )
}

/**
 * The one place where crop, turn, mirroring and scale meet: the index of a pixel of [target] -> the place in the stored
 * picture it shows, where whole numbers are the centres of stored pixels.
 *
 * [crop] is in the upright picture, that is after [orientation]; null means all of it.
 */
fun placement(stored: Size, orientation: Orientation, crop: Box?, target: Size): Affine {
    val upright = orientation.upright(stored)
    val box = crop ?: Box.all(upright)
    val scaleX = box.width / target.width
    val scaleY = box.height / target.height
    val toUpright = Affine(scaleX, 0.0, box.left + scaleX / 2, 0.0, scaleY, box.top + scaleY / 2)
    val unmirror = if (orientation.mirror) Affine(-1.0, 0.0, upright.width.toDouble(), 0.0, 1.0, 0.0) else IDENTITY
    val width = stored.width.toDouble()
    val height = stored.height.toDouble()
    val unturn = when (orientation.turn) {
        Turn.NONE -> IDENTITY
        Turn.RIGHT -> Affine(0.0, 1.0, 0.0, -1.0, 0.0, height)
        Turn.HALF -> Affine(-1.0, 0.0, width, 0.0, -1.0, height)
        Turn.LEFT -> Affine(0.0, -1.0, width, 1.0, 0.0, 0.0)
    }
    val toCentres = Affine(1.0, 0.0, -0.5, 0.0, 1.0, -0.5)
    return toCentres.after(unturn.after(unmirror.after(toUpright)))
}

private val IDENTITY = Affine(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
