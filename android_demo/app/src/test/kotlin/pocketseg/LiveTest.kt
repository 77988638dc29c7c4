package pocketseg

import com.sun.management.ThreadMXBean
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import pocketseg.live.Background
import pocketseg.live.Clock
import pocketseg.live.Effect
import pocketseg.live.Engine
import pocketseg.live.Latest
import pocketseg.live.Look
import pocketseg.live.Meter
import pocketseg.live.Percentiles
import pocketseg.live.Picture
import pocketseg.live.Pipeline
import pocketseg.live.Stage
import pocketseg.live.benchmarkJson
import pocketseg.live.coldStart
import pocketseg.live.measure
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelError
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import java.lang.management.ManagementFactory
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

/** The pipeline and the threads around it, with hand-written fakes of camera, model and screen. */
class LiveTest {
    private fun frame(size: Size = Size(64, 48)): Picture {
        val frames = Latest {}
        FakeCamera(size = size).deliver(frames)
        return frames.take()!!
    }

    private fun pixel(pixels: IntArray, size: Size, x: Int, y: Int) = pixels[y * size.width + x]

    @Test
    fun theBrightHalfStaysAndTheDarkHalfIsReplaced() {
        val pipeline = Pipeline(listOf(BrightSegmenter(spec())), Meter())
        pipeline.render(frame(), Look(Effect.COLOUR, colour = 0xFF112233.toInt(), refinement = 0f), null, 1.0)
        assertEquals(Size(64, 48), pipeline.size)
        assertEquals(0xFF112233.toInt(), pixel(pipeline.output, pipeline.size, 5, 20))
        assertEquals(0xFFFAFAFA.toInt(), pixel(pipeline.output, pipeline.size, 60, 20))
    }

    @Test
    fun everyEffectShowsWhatItSays() {
        val pipeline = Pipeline(listOf(BrightSegmenter(spec())), Meter())
        val picture = frame()
        val behind = Background(IntArray(30 * 20) { 0xFF00FF00.toInt() }, Size(30, 20))
        fun left(look: Look) = pipeline.run { render(picture, look, behind, 1.0); pixel(output, size, 5, 20) }
        fun right(look: Look) = pipeline.run { render(picture, look, behind, 1.0); pixel(output, size, 60, 20) }
        assertEquals(0xFF00FF00.toInt(), left(Look(Effect.PICTURE)))
        assertEquals(0xFFFAFAFA.toInt(), right(Look(Effect.PICTURE)))
        assertEquals(0xFF282828.toInt(), left(Look(Effect.BLUR)))
        assertEquals(0xFF282828.toInt(), left(Look(Effect.MASK)))
        assertEquals("half the palette's green", 0xFF91E1AA.toInt(), right(Look(Effect.MASK)))
    }

    @Test
    fun partsAreDrawnInTheColoursOfTheSpec() {
        val pipeline = Pipeline(listOf(BrightSegmenter(spec(classes = 4))), Meter())
        pipeline.render(frame(), Look(Effect.MASK), null, 1.0)
        // Class 3 is the palette's (128, 128, 0), half over (250, 250, 250).
        assertEquals(0xFFBDBD7D.toInt(), pixel(pipeline.output, pipeline.size, 60, 20))
        assertEquals(0xFF282828.toInt(), pixel(pipeline.output, pipeline.size, 5, 20))
    }

    @Test
    fun twoModelsShareTheFrameHalfAndHalf() {
        val left = BrightSegmenter(spec())
        val right = BrightSegmenter(spec(classes = 4, side = 16))
        val pipeline = Pipeline(listOf(left, right), Meter())
        pipeline.render(frame(), Look(Effect.COLOUR, colour = 0xFF0000FF.toInt(), refinement = 0f), null, 1.0)
        assertEquals(listOf(1, 1), listOf(left.runs, right.runs))
        assertEquals(0xFF0000FF.toInt(), pixel(pipeline.output, pipeline.size, 5, 20))
        assertEquals("the divider", -1, pixel(pipeline.output, pipeline.size, 32, 3))
        assertEquals(0xFFFAFAFA.toInt(), pixel(pipeline.output, pipeline.size, 60, 20))
    }

    @Test
    fun movingPicturesCanFillTheViewPhotosAreWhole() {
        val pipeline = Pipeline(emptyList(), Meter())
        pipeline.render(frame(), Look(fillView = true), null, 0.5)
        assertEquals(Size(24, 48), pipeline.size)
        val photo = Picture().apply { photo(IntArray(20 * 10) { -1 }, Size(20, 10), Orientation(Turn.RIGHT)) }
        pipeline.render(photo, Look(fillView = true), null, 0.5)
        assertEquals(Size(10, 20), pipeline.size)
        assertArrayEquals(IntArray(200) { -1 }, pipeline.output)
    }

    @Test
    fun largeFramesAreBroughtDownToTheWorkingSize() {
        val pipeline = Pipeline(emptyList(), Meter())
        pipeline.render(frame(Size(1280, 720)), Look(), null, 1.0)
        assertEquals(Size(640, 360), pipeline.size)
    }

    /** The promise of the hot path: no allocation per frame, with any effect and two models. */
    @Test
    fun aFrameAllocatesNothing() {
        val threads = ManagementFactory.getThreadMXBean() as ThreadMXBean
        val me = Thread.currentThread().id
        val meter = Meter()
        val pipeline = Pipeline(listOf(BrightSegmenter(spec(side = 224)), BrightSegmenter(spec(classes = 4, side = 64))), meter)
        val behind = Background(IntArray(100), Size(10, 10))
        val frames = Latest {}
        val camera = FakeCamera(size = Size(320, 240))
        val looks = Effect.entries.map { Look(it, fillContours = true, refinement = 0.02f) }
        fun frame(look: Look) {
            camera.deliver(frames)
            pipeline.render(frames.take()!!, look, behind, 1.0)
            meter.end(Stage.DRAWING)
            meter.finish()
        }
        for (look in looks) repeat(3) { frame(look) } // classes load and buffers are made
        repeat(3) { threads.getThreadAllocatedBytes(me) }
        for (look in looks) {
            val before = threads.getThreadAllocatedBytes(me)
            val own = threads.getThreadAllocatedBytes(me) - before // what the measurement itself allocates
            repeat(5) { frame(look) }
            val allocated = threads.getThreadAllocatedBytes(me) - before - 2 * own
            assertEquals("bytes that five frames with ${look.effect} allocate", 0L, allocated)
        }
    }

    /** The app's road from photo to picture against `predict` with the same file; only the interpreter is Python's. */
    @Test
    fun everyModelOfTheAssetsShowsWhatPredictShows() {
        assumeTrue("the app holds no models yet", Golden.models().isNotEmpty())
        for (model in Golden.models()) {
            val photo = Golden.pixels("models/$model/photo")
            val picture = Picture().apply { photo(photo, Golden.size("models/$model/photo"), Orientation()) }
            val segmenter = RecordedSegmenter(model)
            val pipeline = Pipeline(listOf(segmenter), Meter())
            val look = Look(Effect.COLOUR, colour = 0xFF00B140.toInt(), refinement = 0f)
            pipeline.render(picture, look, null, 1.0)
            assertTrue("$model: the input differs by ${segmenter.difference}", segmenter.difference <= 1)
            val mean = assertPixels(model, Golden.pixels("models/$model/blend"), pipeline.output, limit = 3)
            assertTrue("$model: mean difference $mean", mean < 0.5)
            // Refined edges: at the model's size here, at the photo's in predict; alike, not equal.
            pipeline.render(picture, look.copy(refinement = 0.01f), null, 1.0)
            val refined = assertPixels(model, Golden.pixels("models/$model/refined"), pipeline.output, limit = 255)
            assertTrue("$model: mean difference of the refined $refined", refined < 3)
        }
    }

    @Test
    fun theNewestPictureWinsAndLostOnesAreCounted() {
        var published = 0
        val frames = Latest { published++ }
        assertNull(frames.take())
        val pictures = List(3) { frames.back.also { frames.publish() } }
        assertEquals(3, published)
        assertEquals(2, frames.dropped)
        assertTrue(frames.take() === pictures[2])
        assertNull(frames.take())
    }

    @Test
    fun aSlowModelDropsFramesInsteadOfQueueingThem() {
        val screen = FakeScreen()
        val engine = Engine(screen)
        engine.start()
        engine.use { _, _ -> listOf(BrightSegmenter(spec(), millis = 30)) }
        val camera = FakeCamera()
        camera.start(engine.frames) {}
        waitUntil("two reports") { screen.reports.size >= 2 }
        camera.stop()
        engine.close()
        val report = screen.reports.last()
        assertTrue("$report", report.dropped > report.frames)
        val inference = report.stages.first { it.stage == Stage.INFERENCE }
        assertTrue("$inference", inference.p50 >= 30 && inference.p90 >= inference.p50)
        assertTrue("$report", report.framesPerSecond in 1.0..34.0)
    }

    @Test
    fun nothingIsShownAndNothingRunsAfterClose() {
        val screen = FakeScreen()
        val engine = Engine(screen)
        lateinit var model: BrightSegmenter
        engine.start()
        engine.use { _, _ -> listOf(BrightSegmenter(spec()).also { model = it }) }
        val camera = FakeCamera()
        camera.start(engine.frames) {}
        waitUntil("a frame") { screen.shown.get() > 3 }
        engine.close() // the camera still runs: the worst order
        val shown = screen.shown.get()
        val runs = model.runs
        Thread.sleep(50)
        camera.stop()
        assertEquals(shown, screen.shown.get())
        assertEquals(runs, model.runs)
        assertEquals(1, model.closed)
    }

    @Test
    fun aHundredRoundsOfOpenAndCloseLeakNothing() {
        fun mine() = Thread.getAllStackTraces().keys.count { it.name == "inference" || it.name == "fake camera" }
        val before = mine()
        val models = mutableListOf<BrightSegmenter>()
        repeat(100) { round ->
            val screen = FakeScreen()
            val engine = Engine(screen)
            val camera = FakeCamera()
            engine.start()
            engine.use { _, _ -> listOf(BrightSegmenter(spec()).also { synchronized(models) { models += it } }) }
            camera.start(engine.frames) {}
            if (round % 3 == 0) waitUntil("a frame") { screen.shown.get() > 0 } // else closed at any moment
            if (round % 3 == 1) engine.use { _, _ -> listOf(BrightSegmenter(spec()).also { synchronized(models) { models += it } }) }
            camera.stop()
            engine.close()
        }
        assertEquals(before, mine())
        assertTrue(models.size >= 34)
        assertTrue("every model was closed once", models.all { it.closed == 1 })
    }

    @Test
    fun aPhotoIsDrawnAgainWhenTheLookChanges() {
        val screen = FakeScreen()
        val engine = Engine(screen)
        engine.start()
        engine.use { _, _ -> listOf(BrightSegmenter(spec())) }
        engine.frames.back.photo(IntArray(40 * 30) { 0xFF101010.toInt() }, Size(40, 30), Orientation())
        engine.frames.publish()
        engine.show(Look(Effect.COLOUR, colour = 0xFFFF0000.toInt()))
        waitUntil("red") { screen.pixels.isNotEmpty() && screen.pixels[0] == 0xFFFF0000.toInt() }
        engine.show(Look(Effect.COLOUR, colour = 0xFF0000FF.toInt()))
        waitUntil("blue") { screen.pixels[0] == 0xFF0000FF.toInt() }
        val saved = CountDownLatch(1)
        engine.save { pixels, size ->
            if (pixels[0] == 0xFF0000FF.toInt() && size == Size(40, 30)) saved.countDown()
        }
        assertTrue(saved.await(5, TimeUnit.SECONDS))
        engine.close()
    }

    @Test
    fun aModelThatCannotOpenOrStopsIsAMessageAndThePictureGoesOn() {
        val screen = FakeScreen()
        val engine = Engine(screen)
        engine.start()
        val camera = FakeCamera()
        camera.start(engine.frames) {}
        engine.use { _, _ -> throw ModelError("no such model") }
        waitUntil("a frame") { "no such model" in screen.messages && screen.shown.get() > 2 }
        engine.use { _, _ ->
            listOf(object : pocketseg.model.Segmenter by BrightSegmenter(spec()) {
                override fun run(input: java.nio.ByteBuffer, output: java.nio.ByteBuffer) = throw IllegalStateException("delegate lost")
            })
        }
        waitUntil("the second message") { screen.messages.any { "delegate lost" in it } }
        val shown = screen.shown.get()
        waitUntil("more frames") { screen.shown.get() > shown + 2 }
        camera.stop()
        engine.close()
    }

    @Test
    fun percentilesAreNumpysAndForgetTheOld() {
        val values = Percentiles(5)
        assertEquals(0.0, values.milliseconds(0.5), 0.0)
        for (ms in listOf(900, 1, 2, 3, 4, 10)) values.add(ms * 1_000_000L)
        assertEquals(3.0, values.milliseconds(0.5), 1e-9)
        assertEquals(7.6, values.milliseconds(0.9), 1e-9) // np.percentile([1, 2, 3, 4, 10], 90)
    }

    @Test
    fun aBenchmarkMeasuresInTurnAfterTheWarmUpAndClosesTheModels() {
        val models = List(2) { BrightSegmenter(spec(), Device(Delegate.CPU, 2, "3 of 4 operations on XNNPack, 2 partitions")) }
        var now = 0L
        var calls = 0
        // Two readings per run: the first model takes 2 ms, the second 4 ms.
        val clock = Clock { now.also { now += if (calls++ % 4 == 0) 2_000_000 else if (calls % 4 == 3) 4_000_000 else 0 } }
        val named = models.mapIndexed { i, model -> "m$i.tflite" to { model } }
        val runs = measure(named, warmup = 3, repeats = 10, clock)!!
        assertEquals(listOf(13, 13), models.map { it.runs })
        assertEquals(listOf(1, 1), models.map { it.closed })
        val start = coldStart("m0.tflite", { BrightSegmenter(spec()) }, Clock { now.also { now += 1_000_000 } }, { 0L })
        val json = benchmarkJson("aarch64", "a phone", 8, runs, listOf(start))
        val second = json.getJSONArray("runs").getJSONObject(1)
        assertEquals("m1.tflite", second.getString("model"))
        assertEquals(2, second.getInt("threads"))
        assertEquals(10, second.getInt("runs"))
        for (figure in listOf("median_ms", "p90_ms", "p99_ms", "min_ms")) assertEquals(figure, 4.0, second.getDouble(figure), 1e-9)
        assertEquals(0.5, second.getDouble("speed"), 1e-9)
        assertEquals(1.0, json.getJSONArray("cold_start").getJSONObject(0).getDouble("load_ms"), 1e-9)
        assertNull(measure(named.map { it.first to { BrightSegmenter(spec()) } }, 1, 5, stopped = { true }))
    }
}
