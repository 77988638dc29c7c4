package pocketseg.live

import pocketseg.model.ModelError
import pocketseg.model.Segmenter
import pocketseg.pixels.Size

/** Where results go; called on the inference thread. */
interface Screen {
    /** [pixels] belong to the engine: copy them before returning. */
    fun show(pixels: IntArray, size: Size)

    fun report(report: Report)

    /** A sentence for the person. */
    fun failed(message: String)
}

/**
 * The inference thread: takes the newest picture, runs the models, shows the result. From [start] to [close].
 *
 * Models are opened, used and closed on this thread alone. After [close] nothing is shown and nothing runs.
 */
class Engine(private val screen: Screen, private val clock: Clock = Clock.SYSTEM) {
    private val lock = Object()
    private val jobs = ArrayDeque<() -> Unit>()
    @Volatile private var closed = false
    private val worker = Thread(::work, "inference")

    /** Sources write here. */
    val frames = Latest { synchronized(lock) { lock.notifyAll() } }

    // Of the inference thread.
    private var segmenters = emptyList<Segmenter>()
    private var meter = Meter(clock)
    private var pipeline = Pipeline(segmenters, meter)
    private var look = Look()
    private var background: Background? = null
    private var aspect = 1.0
    private var current: Picture? = null
    private var reported = 0L

    fun start() = worker.start()

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
     * Close the models in use and use those that [open] gives; it gets the upright photo last shown, if there is one.
     * What it throws is shown; the picture then has no effect.
     */
    fun use(open: (photo: IntArray?, size: Size) -> List<Segmenter>) = later {
        val photo = if (current == null) null else pipeline.photo
        val size = pipeline.size
        drop()
        try {
            segmenters = open(photo, size)
        } catch (error: ModelError) {
            screen.failed(error.message!!)
        }
        meter = Meter(clock)
        pipeline = Pipeline(segmenters, meter)
        redraw()
    }

    /** Run [action] with the pixels last shown, on the inference thread; not at all when there are none. */
    fun save(action: (pixels: IntArray, size: Size) -> Unit) = later {
        if (current != null) action(pipeline.output, pipeline.size)
    }

    /** Waits for the frame in work (at most [milliseconds]). */
    fun close(milliseconds: Long = 2000) {
        synchronized(lock) {
            closed = true
            lock.notifyAll()
        }
        worker.join(milliseconds)
    }

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
            if (job != null) job() else render(frames.take() ?: continue)
        }
        drop()
    }

    private fun drop() {
        segmenters.forEach { it.close() }
        segmenters = emptyList()
        pipeline = Pipeline(segmenters, meter)
    }

    private fun redraw() {
        if (!frames.hasFresh()) render(current ?: return)
    }

    private fun render(picture: Picture) {
        current = picture
        try {
            pipeline.render(picture, look, background, aspect)
        } catch (error: RuntimeException) { // a delegate that gave up: the picture goes on without the effect
            if (segmenters.isEmpty()) throw error
            drop()
            screen.failed("The model stopped: ${error.message}. Choose it again, or another one.")
            return render(picture)
        }
        if (closed) return
        screen.show(pipeline.output, pipeline.size)
        meter.end(Stage.DRAWING)
        meter.finish()
        val now = clock.nanoseconds()
        if (now - reported >= REPORT_INTERVAL) {
            reported = now
            screen.report(meter.report(frames.dropped))
        }
    }

    private companion object {
        const val REPORT_INTERVAL = 500_000_000L
    }
}
