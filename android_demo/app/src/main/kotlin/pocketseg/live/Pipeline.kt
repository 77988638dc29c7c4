package pocketseg.live

import pocketseg.model.Segmenter
import pocketseg.pixels.BackgroundBlur
import pocketseg.pixels.Box
import pocketseg.pixels.Columns
import pocketseg.pixels.ContourFill
import pocketseg.pixels.Grid
import pocketseg.pixels.GuidedUpsampling
import pocketseg.pixels.InputTensor
import pocketseg.pixels.Orientation
import pocketseg.pixels.OutputTensor
import pocketseg.pixels.Size
import pocketseg.pixels.TemporalSmoothing
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.YuvSampler
import pocketseg.pixels.blend
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import pocketseg.pixels.sampleFloats
import pocketseg.pixels.sampleNearest
import pocketseg.pixels.sharpen
import pocketseg.pixels.tint
import kotlin.math.roundToInt

enum class Effect { MASK, BLUR, COLOUR, PICTURE }

/** What the person chose about the picture. Immutable: a change is a new one. */
data class Look(
    val effect: Effect = Effect.BLUR,
    /** The blur's sigma as a share of the longer side. */
    val blur: Float = 0.03f,
    val colour: Int = 0xFF00B140.toInt(),
    /** The edge refinement's window as a share of the model's longer side; 0 is off. */
    val refinement: Float = 0.01f,
    /** The share of the previous mask where nothing moves, 0 to below 1. */
    val smoothing: Float = 0.6f,
    val fillContours: Boolean = false,
    /** Moving pictures are cut to the shape of the view instead of framed. */
    val fillView: Boolean = false,
)

/** A background picture, opaque packed pixels. */
class Background(val pixels: IntArray, val size: Size)

/**
 * One picture from its source to the screen, with one model or with two side by side. Not thread-safe.
 *
 * Every buffer is allocated when the shape of the picture changes; between such changes [render] allocates nothing.
 */
class Pipeline(private val segmenters: List<Segmenter>, private val meter: Meter) {
    private var scene: Scene? = null

    val size get() = scene?.size ?: Size(1, 1)

    /** Opaque packed pixels of [size]: the upright photo, and the same with the effect. */
    val photo get() = scene!!.photo
    val output get() = scene!!.output

    /** [aspect]: width / height of the view, for [Look.fillView]. */
    fun render(picture: Picture, look: Look, background: Background?, aspect: Double) {
        meter.begin()
        val cut = if (look.fillView && picture.moving) aspect else 0.0
        var scene = this.scene
        if (scene == null || !scene.fits(picture, cut, background)) {
            scene = Scene(picture, cut, background)
            this.scene = scene
        }
        scene.take(picture)
        for (lane in scene.lanes) lane.fill(scene.photo)
        meter.end(Stage.PREPROCESSING)
        for (lane in scene.lanes) lane.run()
        meter.end(Stage.INFERENCE)
        for (lane in scene.lanes) lane.read(scene.photo, look, picture.moving)
        meter.end(Stage.POSTPROCESSING)
        if (scene.lanes.isEmpty()) System.arraycopy(scene.photo, 0, scene.output, 0, scene.output.size)
        for (lane in scene.lanes) scene.draw(lane, look)
        if (scene.lanes.size > 1) scene.drawDivider()
    }

    /** All that depends on the shape of the picture. */
    private inner class Scene(picture: Picture, private val cut: Double, private val background: Background?) {
        private val stored = picture.size
        private val orientation: Orientation = picture.orientation
        private val yuv: YuvLayout? = picture.yuv
        private val upright = orientation.upright(stored)
        private val crop = if (cut > 0) Box.centred(upright, cut) else Box.all(upright)
        val size = Size(crop.width.roundToInt(), crop.height.roundToInt()).within(if (picture.moving) MOVING_SIDE else PHOTO_SIDE)
        val photo = IntArray(size.pixels)
        val output = IntArray(size.pixels)
        val lanes = Array(segmenters.size) { Lane(segmenters[it], size, it, segmenters.size) }
        private val place = placement(stored, orientation, crop, size)
        private val yuvSampler = yuv?.let { YuvSampler(it, place, size) }
        private val argbGrid = if (yuv == null) Grid(place, stored, size) else null
        private val blur = BackgroundBlur(size)
        private val behind = IntArray(size.pixels)
        private val backgroundPixels = background?.let { given ->
            IntArray(size.pixels).also {
                val part = Box.centred(given.size, size.width.toDouble() / size.height)
                Grid(placement(given.size, Orientation(), part, size), given.size, size).sampleArgb(given.pixels, it)
            }
        }

        fun fits(picture: Picture, cut: Double, background: Background?) =
            picture.size == stored && picture.orientation == orientation && picture.yuv == yuv && cut == this.cut &&
                background === this.background

        fun take(picture: Picture) {
            if (yuvSampler != null) yuvSampler.sample(picture.y, picture.u, picture.v, picture.colours, photo)
            else argbGrid!!.sampleArgb(picture.argb, photo)
        }

        fun draw(lane: Lane, look: Look) = with(lane) {
            when (look.effect) {
                Effect.MASK ->
                    if (spec.parts) columns.tint(photo, classes, spec.colours, TINT, output)
                    else columns.tint(photo, mask, spec.colours[1], TINT, output)
                Effect.BLUR -> {
                    blur.apply(photo, mask, look.blur, behind)
                    columns.blend(photo, behind, mask, output)
                }
                Effect.COLOUR -> columns.blend(photo, look.colour, mask, output)
                Effect.PICTURE ->
                    if (backgroundPixels != null) columns.blend(photo, backgroundPixels, mask, output)
                    else columns.blend(photo, look.colour, mask, output)
            }
        }

        fun drawDivider() {
            val middle = size.width / 2
            for (y in 0 until size.height) for (x in maxOf(0, middle - 1)..middle) output[y * size.width + x] = -1
        }
    }

    private companion object {
        const val MOVING_SIDE = 640
        const val PHOTO_SIDE = 1600
        const val TINT = 0.5f
    }
}

/** One model's buffers and its share of the picture. */
private class Lane(private val segmenter: Segmenter, size: Size, index: Int, count: Int) {
    val spec = segmenter.spec
    val columns = Columns(size, size.width * index / count, size.width * (index + 1) / count)
    val mask = FloatArray(size.pixels)
    val classes = ByteArray(if (spec.parts) size.pixels else 0)
    private val input = InputTensor(size, spec.input.size, spec.input.dtype, spec.input.quantization)
    private val output = with(spec.output) { OutputTensor(this.size, channels, dtype, quantization, spec.activation, spec.threshold) }
    private val small = spec.output.size
    private val smallPhoto = if (small == spec.input.size) input.pixels else IntArray(small.pixels)
    private val photoGrid = Grid.resize(size, small)
    private val grid = Grid.resize(small, size)
    private val smoothing = TemporalSmoothing(small)
    private val contours = ContourFill(small)
    private val guided = GuidedUpsampling(small, size)

    fun fill(photo: IntArray) = input.fill(photo)

    fun run() = segmenter.run(input.buffer, output.buffer)

    fun read(photo: IntArray, look: Look, moving: Boolean) {
        output.read()
        if (spec.parts) grid.sampleNearest(output.classes, classes)
        val foreground = output.foreground
        if (!moving) smoothing.reset()
        smoothing.apply(foreground, look.smoothing)
        if (look.fillContours || spec.fillContours) contours.apply(foreground, spec.threshold)
        val radius = (look.refinement * maxOf(small.width, small.height)).roundToInt()
        if (radius == 0) {
            grid.sampleFloats(foreground, mask)
        } else {
            if (smallPhoto !== input.pixels) photoGrid.sampleArgb(photo, smallPhoto)
            guided.apply(foreground, smallPhoto, photo, radius, EPSILON, mask)
        }
        sharpen(mask, spec.threshold)
    }

    private companion object {
        const val EPSILON = 1e-3f
    }
}
