package pocketseg.live

import pocketseg.model.Problem
import pocketseg.model.Segmenter
import pocketseg.model.Trouble
import pocketseg.pixels.Size

/** Where results go; called on the inference thread. */
interface Screen {
    /** [pixels] belong to the engine: copy them before returning. Those of a cut-out are not opaque. */
    fun show(pixels: IntArray, size: Size)

    /** The [Graphics] have brought a picture to the screen; [pixels] reads it back, on this thread. */
    fun presented(size: Size, pixels: () -> IntArray)

    fun report(report: Report)

    fun failed(trouble: Trouble)
}

/**
 * The inference thread: takes the newest picture, runs the models, shows the result. From [start] to [close].
 *
 * Models are opened, used and closed on this thread alone. After [close] nothing is shown and no model runs again. A job
 * that fails is a message; the thread goes on.
 */
class Engine(private val screen: Screen, private val clock: Clock = Clock.SYSTEM) {
    private val lock = Object()
    private val jobs = ArrayDeque<() -> Unit>()
    @Volatile private var closed = false
    private val worker = Thread(::work, "inference")
    @Volatile private var frames = Latest {}

    // Of the inference thread.
    private var segmenters = emptyList<Segmenter>()
    private val meter = Meter(clock)
    private var graphics: Graphics? = null
    private var pipeline = Pipeline(segmenters, meter)
    private var look = Look()
    private var background: Background? = null
    private var aspect = 1.0
    private var current: Picture? = null
    private var droppedBefore = 0L
    private var reported = 0L

    fun start() = worker.start()

    /** Where a new source writes; what the source before still writes is not looked at any more. */
    fun listen(): Latest {
        val next = Latest { synchronized(lock) { lock.notifyAll() } }
        frames = next
        later {
            droppedBefore = 0
            meter.reset()
            pipeline.forget()
        }
        return next
    }

    fun show(look: Look) = later {
        this.look = look
        redraw()
    }

    fun show(background: Background?) = later {
        this.background = background
        redraw()
    }

    fun fit(aspect: Double) = later {
        this.aspect = aspect
        redraw()
    }

    /**
     * Moving pictures are drawn by what [open] gives from now on, or with null as all else is. Graphics that fail, now or
     * later, are a message, and the pictures go on without them.
     */
    fun drawWith(open: (() -> Graphics)?) = later {
        dropGraphics()
        try {
            graphics = open?.invoke()
        } catch (error: Exception) {
            screen.failed(Trouble(Problem.GRAPHICS_FAILED, error))
        }
        pipeline = Pipeline(segmenters, meter, graphics)
        meter.reset()
        redraw()
    }

    /**
     * Close the models in use and use those that [open] gives; it gets the upright photo last shown, if there is one.
     * What it throws is shown; the picture then has no effect.
     */
    fun use(open: (photo: IntArray?, size: Size) -> List<Segmenter>) = later {
        val photo = current?.let(pipeline::photo)
        val size = pipeline.size
        drop()
        try {
            segmenters = open(photo, size)
        } catch (error: Exception) {
            screen.failed(Trouble(Problem.MODEL_REFUSED, error))
        }
        droppedBefore = frames.dropped
        meter.reset()
        pipeline = Pipeline(segmenters, meter, graphics)
        redraw()
    }

    /** Run [action] with what is shown, on the inference thread; no picture, or a failure, is a message. */
    fun save(action: (Shown) -> Unit) = later {
        if (!pipeline.rendered) (frames.take() ?: current)?.let(::render) // the models have just changed
        if (!pipeline.rendered) return@later screen.failed(Trouble(Problem.NO_PICTURE))
        try {
            action(Shown(pipeline, look, current!!))
        } catch (error: Exception) { // a storage provider may throw anything
            screen.failed(Trouble(Problem.SAVE_FAILED, error))
        }
    }

    /** Returns at once; the frame in work is finished, but not shown. */
    fun close() = synchronized(lock) {
        closed = true
        lock.notifyAll()
    }

    /** Waits for the end of the thread after [close], at most [milliseconds]; for tests. */
    fun join(milliseconds: Long = 5000) = worker.join(milliseconds)

    private fun later(job: () -> Unit) {
        synchronized(lock) {
            jobs.addLast(job)
            lock.notifyAll()
        }
    }

    private fun work() {
        while (true) {
            val job: (() -> Unit)?
            synchronized(lock) {
                while (!closed && jobs.isEmpty() && !frames.hasFresh()) lock.wait()
                job = jobs.removeFirstOrNull()
            }
            if (closed) break
            try {
                if (job != null) job() else render(frames.take() ?: continue)
            } catch (error: OutOfMemoryError) {
                screen.failed(Trouble(Problem.NO_MEMORY))
            } catch (error: Exception) {
                screen.failed(Trouble(Problem.UNEXPECTED, error))
            }
        }
        drop()
        dropGraphics()
    }

    private fun drop() {
        segmenters.forEach { it.close() }
        segmenters = emptyList()
        pipeline = Pipeline(segmenters, meter, graphics)
    }

    private fun dropGraphics() {
        graphics?.close()
        graphics = null
    }

    private fun redraw() {
        if (!frames.hasFresh()) render(current ?: return, again = true)
    }

    /** [again]: the picture was rendered before, only how it looks has changed. */
    private fun render(picture: Picture, again: Boolean = false) {
        current = picture
        try {
            pipeline.render(picture, look, background, aspect, again)
            if (closed) return
            bring()
        } catch (error: GraphicsError) {
            dropGraphics()
            pipeline = Pipeline(segmenters, meter)
            screen.failed(Trouble(Problem.GRAPHICS_FAILED, error))
            return render(picture)
        } catch (error: RuntimeException) { // a delegate that gave up: the picture goes on without the effect
            if (segmenters.isEmpty()) throw error
            drop()
            screen.failed(Trouble(Problem.MODEL_STOPPED, error))
            return render(picture)
        }
        meter.end(Stage.DRAWING)
        if (!again) meter.finish()
        val now = clock.nanoseconds()
        if (now - reported >= REPORT_INTERVAL) {
            reported = now
            screen.report(meter.report(frames.dropped - droppedBefore))
        }
    }

    /** The picture to the screen. */
    private fun bring() {
        if (!pipeline.drawnElsewhere) return screen.show(pipeline.output!!, pipeline.size)
        graphics!!.present()
        screen.presented(pipeline.size) { pipeline.output!! }
    }

    private companion object {
        const val REPORT_INTERVAL = 500_000_000L
    }
}

/** What is on the screen, and the same in all the pixels there are. For the inference thread. */
class Shown(private val pipeline: Pipeline, private val look: Look, private val picture: Picture) {
    val pixels get() = pipeline.output!!
    val size get() = pipeline.size
    val moving get() = picture.moving

    /** A camera's or video's frame as large as it came. */
    fun large(): Pair<IntArray, Size> = pipeline.large(picture, look)

    /** Draw the effect on the photo in its full size, rows by rows; the mask's edges are those of the large photo. */
    fun drawOn(photo: LargePhoto) = pipeline.drawOn(photo, look)
}

/** An upright photo that is too large for an array. */
interface LargePhoto {
    val size: Size

    /** Rows [top] until [top] + [rows], packed pixels, opaque. */
    fun read(top: Int, rows: Int, pixels: IntArray)

    /** The same rows with the effect. */
    fun write(top: Int, rows: Int, pixels: IntArray)
}
