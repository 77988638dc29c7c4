package pocketseg

import pocketseg.live.FrameSource
import pocketseg.live.Latest
import pocketseg.live.Report
import pocketseg.live.Screen
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelSpec
import pocketseg.model.Segmenter
import pocketseg.model.Trouble
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.toYuv
import java.nio.ByteBuffer
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicInteger

fun specText(
    name: String = "portrait", side: Int = 32, classes: Int = 1, dtype: String = "uint8", activation: String = "sigmoid", more: String = "",
) = """{"name": "$name", "network": "extremec3",
    "input": {"height": $side, "width": $side, "channels": 3, "color_order": "RGB", "dtype": "$dtype", "scale": ${1 / 255.0}, "zero_point": 0},
    "output": {"height": $side, "width": $side, "classes": $classes, "dtype": "$dtype", "scale": 0.1, "zero_point": 128, "activation": "$activation"},
    "labels": ["background", "person"], "threshold": 0.5, "licence": "for tests" $more}"""

fun spec(classes: Int = 1, side: Int = 32, activation: String = if (classes == 1) "sigmoid" else "softmax") =
    ModelSpec.parse(specText(classes = classes, side = side, activation = activation), "portrait.json")

/** A uint8 model that takes bright pixels for the person (the last class, when there are several). */
class BrightSegmenter(override val spec: ModelSpec, override val device: Device = Device(Delegate.CPU, 1), private val millis: Long = 0) : Segmenter {
    @Volatile var runs = 0
    @Volatile var closed = 0
    private val thread = Thread.currentThread()

    override fun run(input: ByteBuffer, output: ByteBuffer) {
        check(closed == 0) { "run after close" }
        check(Thread.currentThread() === thread) { "used on another thread than it was opened on" }
        if (millis > 0) Thread.sleep(millis)
        val classes = spec.output.channels
        for (i in 0 until spec.output.size.pixels) {
            val bright = input.get(3 * i + 1).toInt() and 255 > 127
            val shown = if (bright) classes - 1 else if (classes == 1) -1 else 0
            for (c in 0 until classes) output.put(i * classes + c, (if (c == shown) 250 else 5).toByte())
        }
        runs++
    }

    override fun close() {
        closed++
    }
}

/** Delivers grey frames whose right half is bright, as fast as it can, or [pixels] as a camera would give them. */
class FakeCamera(
    private val pauseMillis: Long = 0, private val size: Size = Size(64, 48), private val pixels: IntArray? = null,
    private val orientation: Orientation = Orientation(),
) : FrameSource {
    private val layout = YuvLayout(size, size.width, size.width / 2, 1)
    private val thread = Thread(::work, "fake camera")
    @Volatile private var stopped = false
    private lateinit var frames: Latest
    val delivered = AtomicInteger()

    override fun start(frames: Latest, failed: (Trouble) -> Unit) {
        this.frames = frames
        thread.start()
    }

    private fun work() {
        while (!stopped) {
            deliver(frames)
            Thread.sleep(pauseMillis)
        }
    }

    fun deliver(frames: Latest) {
        val picture = frames.back
        picture.frame(layout, size.pixels, size.pixels / 4, orientation, YuvColours.FULL_601)
        if (pixels != null) {
            val (chroma, full) = size.width / 2 to YuvColours.LIMITED_601
            picture.frame(layout, size.pixels, size.pixels / 4, orientation, full)
            toYuv(
                pixels, size.width, size, { x, y, value -> picture.y[y * size.width + x] = value.toByte() },
                { x, y, value -> picture.u[y * chroma + x] = value.toByte() }, { x, y, value -> picture.v[y * chroma + x] = value.toByte() },
            )
            frames.publish()
            delivered.incrementAndGet()
            return
        }
        for (i in 0 until size.pixels) picture.y[i] = if (i % size.width >= size.width / 2) -6 else 40
        picture.u.fill(-128)
        picture.v.fill(-128)
        frames.publish()
        delivered.incrementAndGet()
    }

    override fun stop() {
        stopped = true
    }

    fun join() = thread.join()
}

class FakeScreen : Screen {
    val shown = AtomicInteger()
    @Volatile var pixels = IntArray(0)
    @Volatile var size = Size(1, 1)
    val reports = CopyOnWriteArrayList<Report>()
    val troubles = CopyOnWriteArrayList<Trouble>()

    override fun show(pixels: IntArray, size: Size) {
        this.pixels = pixels.copyOf()
        this.size = size
        shown.incrementAndGet()
    }

    override fun presented(size: Size, pixels: () -> IntArray) = show(pixels(), size)

    override fun report(report: Report) {
        reports += report
    }

    override fun failed(trouble: Trouble) {
        troubles += trouble
    }
}

fun waitUntil(what: String, seconds: Int = 120, condition: () -> Boolean) {
    val end = System.nanoTime() + seconds * 1_000_000_000L
    while (!condition()) {
        check(System.nanoTime() < end) { "waited $seconds s: $what" }
        Thread.sleep(1)
    }
}
