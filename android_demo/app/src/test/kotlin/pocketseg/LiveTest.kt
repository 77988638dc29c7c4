package pocketseg

import com.sun.management.ThreadMXBean
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import pocketseg.live.Accuracy
import pocketseg.live.Background
import pocketseg.live.Candidate
import pocketseg.live.Clock
import pocketseg.live.Effect
import pocketseg.live.Engine
import pocketseg.live.Findings
import pocketseg.live.Graphics
import pocketseg.live.GraphicsError
import pocketseg.live.Lane
import pocketseg.live.LargePhoto
import pocketseg.live.Latest
import pocketseg.live.Look
import pocketseg.live.Meter
import pocketseg.live.Percentiles
import pocketseg.live.Picture
import pocketseg.live.Pipeline
import pocketseg.live.Progress
import pocketseg.live.Stage
import pocketseg.live.benchmarkJson
import pocketseg.live.coldStart
import pocketseg.live.measure
import pocketseg.live.sustain
import pocketseg.model.Agreement
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelError
import pocketseg.model.Problem
import pocketseg.model.Reference
import pocketseg.model.Trouble
import pocketseg.pixels.Box
import pocketseg.pixels.Grid
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import java.lang.management.ManagementFactory
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import javax.imageio.ImageIO

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
        assertEquals(0xFF112233.toInt(), pixel(pipeline.output!!, pipeline.size, 5, 20))
        assertEquals(0xFFFAFAFA.toInt(), pixel(pipeline.output!!, pipeline.size, 60, 20))
    }

    @Test
    fun everyEffectShowsWhatItSays() {
        val pipeline = Pipeline(listOf(BrightSegmenter(spec())), Meter())
        val picture = frame()
        val behind = Background(IntArray(30 * 20) { 0xFF00FF00.toInt() }, Size(30, 20))
        fun left(look: Look) = pipeline.run { render(picture, look, behind, 1.0); pixel(output!!, size, 5, 20) }
        fun right(look: Look) = pipeline.run { render(picture, look, behind, 1.0); pixel(output!!, size, 60, 20) }
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
        assertEquals(0xFFBDBD7D.toInt(), pixel(pipeline.output!!, pipeline.size, 60, 20))
        assertEquals(0xFF282828.toInt(), pixel(pipeline.output!!, pipeline.size, 5, 20))
    }

    @Test
    fun twoModelsShareTheFrameHalfAndHalf() {
        val left = BrightSegmenter(spec())
        val right = BrightSegmenter(spec(classes = 4, side = 16))
        val pipeline = Pipeline(listOf(left, right), Meter())
        pipeline.render(frame(), Look(Effect.COLOUR, colour = 0xFF0000FF.toInt(), refinement = 0f), null, 1.0)
        assertEquals(listOf(1, 1), listOf(left.runs, right.runs))
        assertEquals(0xFF0000FF.toInt(), pixel(pipeline.output!!, pipeline.size, 5, 20))
        assertEquals("the divider", -1, pixel(pipeline.output!!, pipeline.size, 32, 3))
        assertEquals(0xFFFAFAFA.toInt(), pixel(pipeline.output!!, pipeline.size, 60, 20))
    }

    @Test
    fun movingPicturesCanFillTheViewPhotosAreWhole() {
        val pipeline = Pipeline(emptyList(), Meter())
        pipeline.render(frame(), Look(fillView = true), null, 0.5)
        assertEquals(Size(24, 48), pipeline.size)
        val photo = Picture().apply { photo(IntArray(20 * 10) { -1 }, Size(20, 10), Orientation(Turn.RIGHT)) }
        pipeline.render(photo, Look(fillView = true), null, 0.5)
        assertEquals(Size(10, 20), pipeline.size)
        assertArrayEquals(IntArray(200) { -1 }, pipeline.output!!)
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
            val mean = assertPixels(model, Golden.pixels("models/$model/blend"), pipeline.output!!, limit = 3)
            assertTrue("$model: mean difference $mean", mean < 0.05)
            // Refined edges: at the model's size here, at the photo's in predict; alike, not equal.
            pipeline.render(picture, look.copy(refinement = 0.01f), null, 1.0)
            val refined = assertPixels(model, Golden.pixels("models/$model/refined"), pipeline.output!!, limit = 255)
            assertTrue("$model: mean difference of the refined $refined", refined < 0.6)
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
        camera.start(engine.listen()) {}
        waitUntil("two reports") { screen.reports.size >= 2 }
        camera.stop()
        camera.join()
        engine.close()
        engine.join()
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
        camera.start(engine.listen()) {}
        waitUntil("a frame") { screen.shown.get() > 3 }
        engine.close() // the camera still runs: the worst order
        engine.join()
        val shown = screen.shown.get()
        val runs = model.runs
        Thread.sleep(50)
        camera.stop()
        camera.join()
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
            camera.start(engine.listen()) {}
            if (round % 3 == 0) waitUntil("a frame") { screen.shown.get() > 0 } // else closed at any moment
            if (round % 3 == 1) engine.use { _, _ -> listOf(BrightSegmenter(spec()).also { synchronized(models) { models += it } }) }
            camera.stop()
        camera.join()
            engine.close()
            engine.join()
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
        with(engine.listen()) {
            back.photo(IntArray(40 * 30) { 0xFF101010.toInt() }, Size(40, 30), Orientation())
            publish()
        }
        engine.show(Look(Effect.COLOUR, colour = 0xFFFF0000.toInt()))
        waitUntil("red") { screen.pixels.isNotEmpty() && screen.pixels[0] == 0xFFFF0000.toInt() }
        engine.show(Look(Effect.COLOUR, colour = 0xFF0000FF.toInt()))
        waitUntil("blue") { screen.pixels[0] == 0xFF0000FF.toInt() }
        val saved = CountDownLatch(1)
        engine.save { shown ->
            if (shown.pixels[0] == 0xFF0000FF.toInt() && shown.size == Size(40, 30)) saved.countDown()
        }
        assertTrue(saved.await(60, TimeUnit.SECONDS))
        engine.close()
        engine.join()
    }

    @Test
    fun aModelThatCannotOpenOrStopsIsAMessageAndThePictureGoesOn() {
        val screen = FakeScreen()
        val engine = Engine(screen)
        engine.start()
        val camera = FakeCamera()
        camera.start(engine.listen()) {}
        engine.use { _, _ -> throw ModelError("no such model") }
        waitUntil("a frame") { Trouble(Problem.MODEL_REFUSED, "no such model") in screen.troubles && screen.shown.get() > 2 }
        engine.use { _, _ ->
            listOf(object : pocketseg.model.Segmenter by BrightSegmenter(spec()) {
                override fun run(input: java.nio.ByteBuffer, output: java.nio.ByteBuffer) = throw IllegalStateException("delegate lost")
            })
        }
        waitUntil("the second message") { Trouble(Problem.MODEL_STOPPED, "delegate lost") in screen.troubles }
        val shown = screen.shown.get()
        waitUntil("more frames") { screen.shown.get() > shown + 2 }
        camera.stop()
        camera.join()
        engine.close()
        engine.join()
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
    fun theDeviceIsNoPartOfAColdStartAndIsAskedForBeforeTheRuns() {
        val asked = mutableListOf<String>()
        val candidate = Candidate("m.tflite") {
            val model = BrightSegmenter(spec())
            object : pocketseg.model.Segmenter by model {
                override val device get() = model.device.also { asked += "device" }

                override fun run(input: java.nio.ByteBuffer, output: java.nio.ByteBuffer) = model.run(input, output).also { asked += "run" }
            }
        }
        coldStart(candidate, Clock.SYSTEM) { 0L }
        assertEquals(listOf("run"), asked)
        asked.clear()
        measure(listOf(candidate), warmup = 0, repeats = 2, Quiet())
        assertEquals(listOf("device", "run", "run"), asked)
    }

    @Test
    fun aBenchmarkMeasuresInTurnAfterTheWarmUpAndClosesTheModels() {
        val models = List(2) { BrightSegmenter(spec(), Device(Delegate.CPU, 2, "3 of 4 operations on XNNPack, 2 partitions")) }
        var now = 0L
        var calls = 0
        // Two readings per run: the first model takes 2 ms, the second 4 ms.
        val clock = Clock { now.also { now += if (calls++ % 4 == 0) 2_000_000 else if (calls % 4 == 3) 4_000_000 else 0 } }
        val named = models.mapIndexed { i, model -> Candidate("m$i.tflite") { model } }
        val runs = measure(named, warmup = 3, repeats = 10, Quiet(), clock)!!
        assertEquals(listOf(13, 13), models.map { it.runs })
        assertEquals(listOf(1, 1), models.map { it.closed })
        val start = coldStart(Candidate("m0.tflite") { BrightSegmenter(spec()) }, Clock { now.also { now += 1_000_000 } }) { 0L }
        val agreements = mapOf("m0.tflite" to Agreement(floatArrayOf(0f, 1f), floatArrayOf(0f, 1f), 0.5f))
        val json = benchmarkJson("aarch64", "a phone", 8, Findings(runs, listOf(start), agreements, listOf(Accuracy("m0.tflite", Delegate.GPU, agreements.getValue("m0.tflite")))))
        val second = json.getJSONArray("runs").getJSONObject(1)
        assertEquals("m1.tflite", second.getString("model"))
        assertEquals(2, second.getInt("threads"))
        assertEquals(10, second.getInt("runs"))
        for (figure in listOf("median_ms", "p90_ms", "p99_ms", "min_ms")) assertEquals(figure, 4.0, second.getDouble(figure), 1e-9)
        assertEquals(0.5, second.getDouble("speed"), 1e-9)
        assertEquals(1.0, json.getJSONArray("cold_start").getJSONObject(0).getDouble("load_ms"), 1e-9)
        assertTrue(json.getJSONArray("gpu_agreement").getJSONObject(0).getBoolean("trusted"))
        assertEquals("gpu", json.getJSONArray("accuracy").getJSONObject(0).getString("delegate"))
        assertNull(measure(named.map { Candidate(it.name) { BrightSegmenter(spec()) } }, 1, 5, Quiet(stopped = true)))
    }

    private class Quiet(override var stopped: Boolean = false, private val after: Int = Int.MAX_VALUE) : Progress {
        val failures = mutableListOf<Pair<String, String>>()

        override fun done(runs: Int) {
            if (runs >= after) stopped = true
        }

        override fun failed(model: String, reason: String) {
            failures += model to reason
        }
    }

    private fun throwing(model: BrightSegmenter, from: Int) = object : pocketseg.model.Segmenter by model {
        override fun run(input: java.nio.ByteBuffer, output: java.nio.ByteBuffer) {
            check(model.runs < from) { "delegate lost" }
            model.run(input, output)
        }
    }

    @Test
    fun aModelThatCannotOpenOrThrowsLeavesTheOthersTheirRow() {
        val models = List(3) { BrightSegmenter(spec()) }
        val candidates = listOf(
            Candidate("gone") { throw ModelError("no such file") }, Candidate("first") { models[0] },
            Candidate("lost") { throwing(models[1], from = 4) }, Candidate("last") { models[2] },
        )
        val told = Quiet()
        val runs = measure(candidates, warmup = 2, repeats = 5, told)!!
        assertEquals(listOf("first", "last"), runs.map { it.model })
        assertEquals(listOf("gone", "lost"), told.failures.map { it.first })
        assertTrue("${told.failures}", "delegate lost" in told.failures[1].second)
        assertEquals(listOf(1, 1, 1), models.map { it.closed })
        val base = measure(listOf(Candidate("lost") { throwing(BrightSegmenter(spec()), from = 1) }, Candidate("m") { BrightSegmenter(spec()) }), 0, 3, Quiet())!!.single()
        assertNull("a speed beside a model that failed", base.speed)
    }

    @Test
    fun aSustainedRunTellsHeatAndBatteryAndCanBeStopped() {
        var now = 0L
        val clock = Clock { now.also { now += 500_000_000 } } // a run takes half a second
        val model = BrightSegmenter(spec())
        val stretches = sustain(Candidate("m") { model }, seconds = 60, stretchSeconds = 10, Quiet(after = 3), { "warm" }, { 80 }, clock)
        assertEquals(3, stretches.size)
        assertEquals(1, model.closed)
        assertTrue("${stretches.map { it.runs }}", stretches.all { it.runs in 5..20 })
        val found = Findings(sustained = mapOf("m" to stretches), failures = listOf("x" to "gone"))
        val json = benchmarkJson("aarch64", "a phone", 8, found).getJSONArray("sustained").getJSONObject(0).getJSONArray("stretches").getJSONObject(2)
        assertEquals("warm", json.getString("thermal"))
        assertEquals(80, json.getInt("battery_percent"))
        assertEquals(500.0, json.getDouble("median_ms"), 1e-9)
    }

    /** A running engine with one frame shown. */
    private fun engine(screen: FakeScreen, model: () -> pocketseg.model.Segmenter = { BrightSegmenter(spec()) }): Pair<Engine, Latest> {
        val engine = Engine(screen).apply { start() }
        engine.use { _, _ -> listOf(model()) }
        val frames = engine.listen()
        FakeCamera().deliver(frames)
        waitUntil("a frame") { screen.shown.get() > 0 }
        return engine to frames
    }

    @Test
    fun changingModelsTwiceQuicklyAndSavingMeanwhileKeepsTheThreadAlive() {
        val screen = FakeScreen()
        val (engine, frames) = engine(screen)
        val held = CountDownLatch(1)
        val saved = CountDownLatch(1)
        engine.save { held.await() } // the thread is busy while the person goes on
        FakeCamera().deliver(frames)
        engine.use { _, _ -> listOf(BrightSegmenter(spec())) }
        engine.use { _, _ -> listOf(BrightSegmenter(spec())) }
        engine.save { if (it.size == Size(64, 48)) saved.countDown() }
        held.countDown()
        assertTrue("saved while a model opened", saved.await(60, TimeUnit.SECONDS))
        val shown = screen.shown.get()
        FakeCamera().deliver(frames)
        waitUntil("the next frame") { screen.shown.get() > shown }
        assertEquals(emptyList<Trouble>(), screen.troubles.toList())
        engine.close()
        engine.join()
    }

    @Test
    fun savingWithoutAPictureSaysSoAndASaveThatThrowsKeepsTheThreadAlive() {
        val screen = FakeScreen()
        val engine = Engine(screen).apply { start() }
        engine.save { throw AssertionError("there is no picture") }
        waitUntil("the message") { Trouble(Problem.NO_PICTURE) in screen.troubles }
        val frames = engine.listen()
        FakeCamera().deliver(frames)
        engine.save { throw SecurityException("not yours") }
        engine.save { throw java.io.IOException("disk full") }
        waitUntil("both messages") { screen.troubles.count { it.problem == Problem.SAVE_FAILED } == 2 }
        val shown = screen.shown.get()
        FakeCamera().deliver(frames)
        waitUntil("the next frame") { screen.shown.get() > shown }
        engine.close()
        engine.join()
    }

    @Test
    fun aFileThatCannotBeReadOrWrittenKeepsTheThreadAlive() {
        val screen = FakeScreen()
        val (engine, frames) = engine(screen)
        engine.use { _, _ -> throw java.io.IOException("disk full") }
        engine.drawWith { throw java.io.IOException("no shader") }
        waitUntil("both messages") { screen.troubles.map { it.problem }.containsAll(listOf(Problem.MODEL_REFUSED, Problem.GRAPHICS_FAILED)) }
        val shown = screen.shown.get()
        FakeCamera().deliver(frames)
        waitUntil("the next frame") { screen.shown.get() > shown }
        engine.close()
        engine.join()
    }

    @Test
    fun aNewSourceOrModelStartsItsCountsAtZero() {
        val screen = FakeScreen()
        val engine = Engine(screen)
        val old = engine.listen()
        repeat(50) { FakeCamera().deliver(old) }
        assertEquals(49, old.dropped)
        engine.use { _, _ -> listOf(BrightSegmenter(spec())) }
        engine.start()
        waitUntil("a report") { screen.reports.isNotEmpty() }
        assertEquals("dropped before the model came", 0, screen.reports.last().dropped)
        val reports = screen.reports.size
        val next = engine.listen()
        waitUntil("a report of the next source") {
            FakeCamera().deliver(next)
            screen.reports.size > reports
        }
        assertTrue("${screen.reports.last()}", screen.reports.last().dropped <= next.dropped)
        engine.close()
        engine.join()
    }

    @Test
    fun aRedrawNeitherRunsTheModelNorSmoothsTheSameFrameAgain() {
        val model = BrightSegmenter(spec())
        val pipeline = Pipeline(listOf(model), Meter())
        val look = Look(Effect.MASK, smoothing = 0.9f)
        val frames = Latest {}
        for (right in listOf(0xFF8A8A8A.toInt(), 0xFF707070.toInt())) { // the person comes and goes
            FakeCamera(size = Size(64, 48), pixels = IntArray(64 * 48) { if (it % 64 > 31) right else 0xFF202020.toInt() }).deliver(frames)
            pipeline.render(frames.take()!!.also { last = it }, look, null, 1.0)
        }
        val first = pipeline.output!!.copyOf()
        repeat(3) { pipeline.render(last!!, look, null, 1.0, again = true) }
        assertArrayEquals(first, pipeline.output!!)
        assertEquals(2, model.runs)
        pipeline.render(last!!, look.copy(effect = Effect.COLOUR), null, 1.0, again = true)
        assertTrue("the look changes", !first.contentEquals(pipeline.output!!))
    }

    private var last: Picture? = null

    /** A photo in memory, rows as they come. */
    private class ArrayPhoto(val pixels: IntArray, override val size: Size) : LargePhoto {
        val out = IntArray(size.pixels)
        val rows = mutableListOf<Int>()

        override fun read(top: Int, rows: Int, pixels: IntArray) {
            this.pixels.copyInto(pixels, 0, top * size.width, (top + rows) * size.width)
        }

        override fun write(top: Int, rows: Int, pixels: IntArray) {
            pixels.copyInto(out, top * size.width, 0, rows * size.width)
            this.rows += rows
        }
    }

    @Test
    fun aPhotoIsSavedInItsFullSizeRowsByRows() {
        val size = Size(2400, 1800)
        val pixels = IntArray(size.pixels) { if (it % size.width >= size.width / 2) 0xFFF0F0F0.toInt() else 0xFF202020.toInt() }
        for (effect in listOf(Effect.COLOUR, Effect.BLUR, Effect.CUTOUT, Effect.PICTURE)) {
            val look = Look(effect, colour = 0xFF112233.toInt(), refinement = 0.02f)
            val pipeline = Pipeline(listOf(BrightSegmenter(spec(side = 224))), Meter())
            val picture = Picture().apply { photo(pixels, size, Orientation()) }
            val behind = Background(IntArray(12) { 0xFF00FF00.toInt() }, Size(4, 3))
            pipeline.render(picture, look, behind, 1.0)
            assertEquals(Size(1600, 1200), pipeline.size)
            val photo = ArrayPhoto(pixels, size)
            pipeline.drawOn(photo, look)
            assertEquals(size.height, photo.rows.sum())
            assertTrue("in more than one band: ${photo.rows}", photo.rows.size > 1)
            val left = mapOf(Effect.COLOUR to 0xFF112233, Effect.BLUR to 0xFF202020, Effect.CUTOUT to 0x00202020, Effect.PICTURE to 0xFF00FF00)
            for (y in listOf(0, 900, 1799)) {
                assertEquals("${look.effect} $y", left.getValue(look.effect).toInt(), pixel(photo.out, size, 300, y))
                assertEquals("${look.effect} $y", 0xFFF0F0F0.toInt(), pixel(photo.out, size, 2100, y))
            }
            // The large edge is one pixel of the large photo, not three of the small one.
            assertEquals(0xFFF0F0F0.toInt(), pixel(photo.out, size, size.width / 2 + 1, 900))
        }
    }

    @Test
    fun aFrameIsSavedAsLargeAsTheCameraGaveIt() {
        val frame = frame(Size(1280, 720))
        val pipeline = Pipeline(listOf(BrightSegmenter(spec())), Meter())
        val look = Look(Effect.COLOUR, colour = 0xFF112233.toInt(), fillView = false)
        pipeline.render(frame, look, null, 1.0)
        val (pixels, size) = pipeline.large(frame, look)
        assertEquals(Size(1280, 720), size)
        assertEquals(0xFF112233.toInt(), pixel(pixels, size, 100, 700))
        assertEquals(0xFFFAFAFA.toInt(), pixel(pixels, size, 1200, 700))
    }

    /** The real model on a real portrait, as a photo and as a camera's frames in every position of the phone. */
    @Test
    fun everyPositionOfThePhoneShowsTheSamePortrait() {
        assumeTrue("no Python for the model", PythonSegmenter.available)
        val model = Golden.portraitModel()
        val segmenter = PythonSegmenter(model)
        val portrait = Golden.pixels("models/$model/portrait-photo")
        val size = Golden.size("models/$model/portrait-photo")
        val look = Look(Effect.COLOUR, colour = 0xFF00B140.toInt(), refinement = 0f)
        val pipeline = Pipeline(listOf(segmenter), Meter())
        pipeline.render(Picture().apply { photo(portrait, size, Orientation()) }, look, null, 1.0)
        val expected = Golden.pixels("models/$model/portrait-blend")
        val mean = mean(expected, pipeline.output!!)
        println("portrait against predict: mean difference $mean")
        assertTrue("against predict: mean difference $mean", mean < PORTRAIT_LIMIT)
        for (tag in 1..8) { // the frame as a sensor in that position stores it
            val orientation = Orientation.ofExif(tag)
            val inverse = if (orientation.turn == Turn.RIGHT && !orientation.mirror) Orientation(Turn.LEFT)
            else if (orientation.turn == Turn.LEFT && !orientation.mirror) Orientation(Turn.RIGHT) else orientation
            val stored = inverse.upright(size)
            val pixels = IntArray(stored.pixels).also { Grid(placement(size, inverse, null, stored), size, stored).sampleArgb(portrait, it) }
            val frames = Latest {}
            FakeCamera(size = stored, pixels = pixels, orientation = orientation).deliver(frames)
            pipeline.forget()
            pipeline.render(frames.take()!!, look, null, 1.0)
            val difference = mean(expected, pipeline.output!!)
            println("frame $tag: mean difference $difference")
            assertTrue("frame $tag: mean difference $difference", difference < FRAME_LIMIT)
        }
        // The same in four times the size: shrunk again it is the small one.
        val four = Size(size.width * 4, size.height * 4)
        val large = ArrayPhoto(IntArray(four.pixels).also { Grid.resize(size, four).sampleArgb(portrait, it) }, four)
        pipeline.render(Picture().apply { photo(portrait, size, Orientation()) }, look.copy(refinement = 0.01f), null, 1.0)
        val small = pipeline.output!!.copyOf()
        pipeline.drawOn(large, look.copy(refinement = 0.01f))
        val shrunk = IntArray(size.pixels).also { Grid.resize(four, size).sampleArgb(large.out, it) }
        val refined = mean(small, shrunk)
        println("four times as large: mean difference $refined")
        assertTrue("four times as large: mean difference $refined", refined < LARGE_LIMIT)
        segmenter.close()
    }

    /** Graphics that keep what they were told, and fail when [fails] says so. */
    private class FakeGraphics(private val fails: (String) -> Boolean = { false }) : Graphics {
        val calls = mutableListOf<String>()
        private var size = Size(1, 1)
        private var taken = 0

        @Synchronized private fun call(name: String) {
            calls += name
            if (fails(name)) throw GraphicsError("lost in $name")
        }

        @Synchronized fun count(name: String) = calls.count { it == name }

        override fun take(picture: Picture, crop: Box) {
            call("take")
            size = Size(crop.width.toInt(), crop.height.toInt())
            taken++
        }

        override fun sample(lane: Int, size: Size, pixels: IntArray) = pixels.fill(-taken)

        override fun draw(look: Look, background: Background?, lanes: Array<Lane>) = call("draw")

        override fun present() = call("present")

        override fun read(pixels: IntArray) = pixels.fill(0xFF00AA00.toInt())

        override fun close() = call("close")
    }

    @Test
    fun graphicsDrawMovingPicturesOnlyAndGiveTheirPixelsToARecording() {
        val screen = FakeScreen()
        val graphics = FakeGraphics()
        val (engine, frames) = engine(screen)
        engine.drawWith { graphics }
        waitUntil("drawn by the graphics") { screen.pixels[0] == 0xFF00AA00.toInt() && screen.size == Size(64, 48) }
        FakeCamera().deliver(frames)
        waitUntil("the next frame") { graphics.count("present") >= 2 }
        with(engine.listen()) {
            back.photo(IntArray(40 * 30) { 0xFF101010.toInt() }, Size(40, 30), Orientation())
            publish()
        }
        waitUntil("the photo, by the CPU") { screen.size == Size(40, 30) && screen.pixels[0] != 0xFF00AA00.toInt() }
        engine.close()
        engine.join()
        assertEquals(1, graphics.count("close"))
    }

    @Test
    fun graphicsThatCannotOpenOrAreLostAreAMessageAndTheCpuGoesOn() {
        for (failing in listOf("open", "take", "draw", "present")) {
            val screen = FakeScreen()
            val (engine, frames) = engine(screen)
            val graphics = FakeGraphics { it == failing }
            engine.drawWith { if (failing == "open") throw GraphicsError("lost in open") else graphics }
            waitUntil("the message") { Trouble(Problem.GRAPHICS_FAILED, "lost in $failing") in screen.troubles }
            val shown = screen.shown.get()
            FakeCamera().deliver(frames)
            waitUntil("the next frame") { screen.shown.get() > shown }
            assertTrue("by the CPU, with the model", screen.pixels[0] != 0xFF00AA00.toInt() && screen.troubles.size == 1)
            engine.close()
            engine.join()
            assertEquals(failing, if (failing == "open") 0 else 1, graphics.count("close"))
        }
    }

    /** What the speed test on a phone compares with is what the models find now. */
    @Test
    fun theReferencesInTheAssetsAreThoseOfTheModels() {
        assumeTrue("no Python for the models", PythonSegmenter.available)
        fun read(name: String) = ImageIO.read(Golden.file("src/main/assets/check/$name.png"))
        val photo = read("portrait")
        val pixels = photo.getRGB(0, 0, photo.width, photo.height, null, 0, photo.width)
        for (model in Golden.models()) {
            val seen = read(model).raster
            val expected = FloatArray(seen.width * seen.height) { seen.getSample(it % seen.width, it / seen.width, 0) / 255f }
            val segmenter = PythonSegmenter(model)
            val size = Size(photo.width, photo.height)
            val agreement = Reference(pixels, size, expected).compare(segmenter)!!
            segmenter.close()
            assertTrue("$model: $agreement; after a change of a preset: python golden.py --check", agreement.meanDifference < 0.004 && agreement.otherSide < 0.001)
        }
    }

    private fun mean(expected: IntArray, actual: IntArray) = assertPixels("mean", expected, actual, limit = 255)

    private companion object {
        const val PORTRAIT_LIMIT = 0.8
        const val FRAME_LIMIT = 2.0
        const val LARGE_LIMIT = 1.0
    }
}
