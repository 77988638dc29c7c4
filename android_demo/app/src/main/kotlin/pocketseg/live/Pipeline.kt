package pocketseg.live

import pocketseg.model.Segmenter
import pocketseg.model.outputTensor
import pocketseg.pixels.BackgroundBlur
import pocketseg.pixels.Box
import pocketseg.pixels.Columns
import pocketseg.pixels.ContourFill
import pocketseg.pixels.Fill
import pocketseg.pixels.Grid
import pocketseg.pixels.GuidedMask
import pocketseg.pixels.InputTensor
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.TemporalSmoothing
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.YuvSampler
import pocketseg.pixels.blend
import pocketseg.pixels.cutOut
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import pocketseg.pixels.sampleFloats
import pocketseg.pixels.sampleNearest
import pocketseg.pixels.sharpen
import pocketseg.pixels.tint
import kotlin.math.roundToInt

enum class Effect { NONE, BLUR, PICTURE, COLOUR, CUTOUT, MASK }

/** What the person chose about the picture. Immutable: a change is a new one. */
data class Look(
    val effect: Effect = Effect.BLUR,
    /** The blur's sigma as a share of the longer side. */
    val blur: Float = 0.03f,
    val colour: Int = 0xFF00B140.toInt(),
    /** The edge refinement's window as a share of the model's longer side; 0 is off. */
    val refinement: Float = 0.01f,
    /** The share of the previous mask that stays where the picture is still, 0 to below 1; null is what the model's spec says. */
    val smoothing: Float? = null,
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
 * Moving pictures are drawn by [graphics] where there is one, else with at most [movingSide] pixels on the longer side.
 */
class Pipeline(
    private val segmenters: List<Segmenter>, private val meter: Meter, private val graphics: Graphics? = null, private val movingSide: Int = 640,
) {
    private var scene: Scene? = null

    /** The picture last rendered was drawn by the [Graphics]. */
    val drawnElsewhere get() = scene?.graphics != null
    val rendered get() = scene != null
    val size get() = scene?.size ?: Size(1, 1)

    /** Packed pixels of [size] with the effect, null before the first [render]. */
    val output get() = scene?.finished()

    /** The upright [picture], which was rendered last: packed pixels of [size]. */
    fun photo(picture: Picture) = scene?.upright(picture)

    /**
     * [aspect]: width / height of the view, for [Look.fillView]. [again]: this picture was the last one too, so what the
     * models said of it is kept (and not smoothed over time a second time).
     */
    fun render(picture: Picture, look: Look, background: Background?, aspect: Double, again: Boolean = false) {
        meter.begin()
        val cut = if (look.fillView && picture.moving) aspect else 0.0
        var scene = this.scene
        val known = scene != null && scene.fits(picture, cut)
        if (scene == null || !known) {
            scene = Scene(picture, cut)
            this.scene = scene
        }
        if (!again || !known) {
            scene.take(picture)
            meter.end(Stage.PREPROCESSING)
            for (lane in scene.lanes) lane.run()
            meter.end(Stage.INFERENCE)
            for (lane in scene.lanes) lane.observe(look.smoothing, picture.moving)
        }
        scene.use(background)
        scene.shape(look)
        meter.end(Stage.POSTPROCESSING)
        scene.draw(look)
    }

    /** The next picture has nothing to do with those before. */
    fun forget() = scene?.lanes?.forEach { it.forget() } ?: Unit

    /** The effect of the picture last rendered on the same photo in a larger size. */
    fun drawOn(photo: LargePhoto, look: Look) {
        val scene = checkNotNull(scene) { "nothing was rendered" }
        val rows = minOf(photo.size.height, maxOf(1, BAND_PIXELS / photo.size.width))
        val painter = scene.painter(photo.size, rows)
        val pixels = IntArray(photo.size.width * rows)
        val out = IntArray(photo.size.width * rows)
        for (top in 0 until photo.size.height step rows) {
            val count = minOf(rows, photo.size.height - top)
            photo.read(top, count, pixels)
            painter.draw(look, pixels, out, top, count)
            photo.write(top, count, out)
        }
    }

    /** The moving [picture] that was rendered last, in all of its pixels; they are used again by the next call. */
    fun large(picture: Picture, look: Look): Pair<IntArray, Size> = checkNotNull(scene) { "nothing was rendered" }.large(picture, look)

    /** All that depends on the shape of the picture. */
    private inner class Scene(picture: Picture, private val cut: Double) {
        val graphics = if (picture.moving) this@Pipeline.graphics else null
        private val stored = picture.size
        private val orientation: Orientation = picture.orientation
        private val yuv: YuvLayout? = picture.yuv
        private val upright = orientation.upright(stored)
        private val crop = if (cut > 0) Box.centred(upright, cut).whole() else Box.all(upright)
        private val largeSize = Size(crop.width.roundToInt(), crop.height.roundToInt())
        val size = if (graphics != null) largeSize else largeSize.within(if (picture.moving) movingSide else PHOTO_SIDE)
        val lanes = Array(segmenters.size) { Lane(segmenters[it], size) }
        private val photo by lazy { IntArray(size.pixels) }
        private val output by lazy { IntArray(size.pixels) }
        private val place = placement(stored, orientation, crop, size)
        private val yuvSampler by lazy { YuvSampler(yuv!!, place, size) }
        private val argbGrid = if (yuv == null) Grid(place, stored, size) else null
        private var background: Background? = null
        private var painter: Painter? = null

        fun fits(picture: Picture, cut: Double) =
            picture.size == stored && picture.orientation == orientation && picture.yuv == yuv && cut == this.cut

        fun use(background: Background?) {
            if (background === this.background) return
            this.background = background
            painter = null
            largePainter = null
        }

        fun painter(size: Size, rows: Int) = Painter(lanes, background, size, rows)

        fun take(picture: Picture) {
            if (graphics == null) {
                upright(picture)
                for (lane in lanes) lane.fill(photo)
            } else {
                graphics.take(picture, crop)
                for (i in lanes.indices) {
                    graphics.sample(i, lanes[i].spec.input.size, lanes[i].input.pixels)
                    lanes[i].input.store()
                }
            }
        }

        fun upright(picture: Picture): IntArray {
            if (argbGrid != null) argbGrid.sampleArgb(picture.argb, photo)
            else yuvSampler.sample(picture.y, picture.u, picture.v, picture.colours, photo)
            return photo
        }

        fun shape(look: Look) {
            for (lane in lanes) if (graphics == null) lane.shape(photo, look) else lane.masked(look)
        }

        fun draw(look: Look) {
            if (graphics != null) return graphics.draw(look, background, lanes)
            val painter = painter ?: painter(size, size.height).also { painter = it }
            painter.draw(look, photo, output, 0, size.height)
        }

        fun finished(): IntArray {
            graphics?.read(output)
            return output
        }

        private val largeSampler by lazy { YuvSampler(yuv!!, placement(stored, orientation, crop, largeSize), largeSize) }
        private val largePhoto by lazy { IntArray(largeSize.pixels) }
        private val largeOutput by lazy { IntArray(largeSize.pixels) }
        private var largePainter: Painter? = null

        fun large(picture: Picture, look: Look): Pair<IntArray, Size> {
            if (graphics != null) return finished() to size
            largeSampler.sample(picture.y, picture.u, picture.v, picture.colours, largePhoto)
            val painter = largePainter ?: painter(largeSize, largeSize.height).also { largePainter = it }
            painter.draw(look, largePhoto, largeOutput, 0, largeSize.height)
            return largeOutput to largeSize
        }
    }

    private companion object {
        const val PHOTO_SIDE = 1600
        const val BAND_PIXELS = 1 shl 18
    }
}

/** One model and what it said of a picture of [size], at the model's own size. */
class Lane(private val segmenter: Segmenter, private val size: Size) {
    val spec = segmenter.spec
    val small = spec.output.size
    val classes get() = output.classes
    val mask = FloatArray(small.pixels)

    /** The edge refinement's, in pixels of the model's size; 0 is off. */
    var radius = 0
        private set
    val blur by lazy { BackgroundBlur(size) }
    val guided by lazy { GuidedMask(small) }
    val input = InputTensor(spec.input.size, spec.input.dtype, spec.input.quantization)
    private val inputGrid by lazy { Grid.resize(size, spec.input.size) }
    private val output = outputTensor(spec)
    private val smallPhoto = if (small == spec.input.size) input.pixels else IntArray(small.pixels)
    private val photoGrid by lazy { Grid.resize(size, small) }
    private val smoothing = TemporalSmoothing(spec.input.size, small)
    private val contours = ContourFill(small)
    private val strokes by lazy { Strokes(this, size, size.height) }

    fun fill(photo: IntArray) = input.fill(photo, inputGrid)

    fun run() = segmenter.run(input.buffer, output.buffer)

    fun forget() = smoothing.reset()

    fun observe(share: Float?, moving: Boolean) {
        output.read()
        if (!moving) smoothing.reset()
        smoothing.apply(output.foreground, input.pixels, share ?: spec.smoothing)
    }

    /** The mask as [look] wants it. */
    fun masked(look: Look) {
        System.arraycopy(output.foreground, 0, mask, 0, mask.size)
        contours.apply(mask, spec.threshold, if (spec.fill == Fill.NONE && look.fillContours) Fill.ALL else spec.fill)
        radius = (look.refinement * maxOf(small.width, small.height)).roundToInt()
    }

    /** The same, and what only all of the photo can give: lines that follow its edges, the blurred background. */
    fun shape(photo: IntArray, look: Look) {
        masked(look)
        if (radius > 0) {
            if (smallPhoto !== input.pixels) photoGrid.sampleArgb(photo, smallPhoto)
            guided.fit(mask, smallPhoto, radius, EPSILON)
        }
        if (look.effect == Effect.BLUR) {
            strokes.read(photo, 0, size.height)
            blur.apply(photo, strokes.mask, look.blur)
        }
    }

    private companion object {
        const val EPSILON = 1e-3f
    }
}

/** A lane's mask at the size of a picture, [rows] rows at a time. */
private class Strokes(private val lane: Lane, size: Size, rows: Int) {
    val mask = FloatArray(size.width * rows)
    val classes = ByteArray(if (lane.spec.parts) size.width * rows else 0)
    private val slopes = FloatArray(size.width * rows)
    private val grid = Grid.resize(lane.small, size)

    fun read(photo: IntArray, top: Int, until: Int) {
        if (lane.radius > 0) lane.guided.draw(grid, photo, slopes, mask, top, until)
        else grid.sampleFloats(lane.mask, mask, top, until)
        sharpen(mask, lane.spec.threshold, (until - top) * grid.target.width)
        if (lane.spec.parts) grid.sampleNearest(lane.classes, classes, top, until)
    }
}

/** Draws the lanes' effect on rows of a picture of [size], which may be larger than the one that the models saw. */
private class Painter(private val lanes: Array<Lane>, private val background: Background?, private val size: Size, rows: Int) {
    private val strokes = lanes.map { Strokes(it, size, rows) }
    private val blurs = lanes.map { Grid.resize(it.blur.small, size) }
    private val behind = IntArray(size.width * rows)
    private val columns = lanes.indices.map { i -> Columns(Size(size.width, rows), size.width * i / lanes.size, size.width * (i + 1) / lanes.size) }
    private val backgroundGrid = background?.let { Grid.cover(it.size, size) }
    private val still = backgroundGrid?.takeIf { rows == size.height }?.let { grid ->
        IntArray(size.pixels).also { grid.sampleArgb(background!!.pixels, it) }
    }

    /** [photo] and [out] hold rows [top] until [top] + [count]. */
    fun draw(look: Look, photo: IntArray, out: IntArray, top: Int, count: Int) {
        val until = top + count
        if (lanes.isEmpty() || look.effect == Effect.NONE) {
            for (i in 0 until count * size.width) out[i] = photo[i] or (0xFF shl 24)
        } else {
            for (i in lanes.indices) draw(i, look, photo, out, top, until)
        }
        if (lanes.size > 1) for (y in 0 until count) for (x in maxOf(0, size.width / 2 - 1)..size.width / 2) out[y * size.width + x] = -1
    }

    private fun draw(index: Int, look: Look, photo: IntArray, out: IntArray, top: Int, until: Int) {
        val lane = lanes[index]
        val strokes = strokes[index].also { it.read(photo, top, until) }
        val mask = strokes.mask
        with(columns[index]) {
            when (look.effect) {
                Effect.NONE -> Unit
                Effect.BLUR -> {
                    blurs[index].sampleArgb(lane.blur.blurred, behind, top, until)
                    blend(photo, behind, mask, out)
                }
                Effect.PICTURE ->
                    if (still != null) {
                        blend(photo, still, mask, out)
                    } else if (backgroundGrid != null) {
                        backgroundGrid.sampleArgb(background!!.pixels, behind, top, until)
                        blend(photo, behind, mask, out)
                    } else {
                        tint(photo, mask, 0, 0f, out) // until there is a picture, the photo as it is
                    }
                Effect.COLOUR -> blend(photo, look.colour, mask, out)
                Effect.CUTOUT -> cutOut(photo, mask, out)
                Effect.MASK ->
                    if (lane.spec.parts) tint(photo, strokes.classes, lane.spec.colours, TINT, out)
                    else tint(photo, mask, lane.spec.colours[1], TINT, out)
            }
        }
    }

    private companion object {
        const val TINT = 0.5f
    }
}
