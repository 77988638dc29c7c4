package pocketseg

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import pocketseg.model.Agreement
import pocketseg.model.Attempt
import pocketseg.model.Delegate
import pocketseg.model.ModelError
import pocketseg.model.ModelSpec
import pocketseg.model.Problem
import pocketseg.model.Segmenter
import pocketseg.model.Trouble
import pocketseg.model.coverage
import pocketseg.model.openingLine
import pocketseg.model.openTrusted
import pocketseg.pixels.Activation
import pocketseg.pixels.Dtype
import pocketseg.pixels.Fill
import pocketseg.pixels.Kind
import pocketseg.pixels.Quantization
import pocketseg.pixels.Size
import java.io.File
import java.nio.ByteBuffer

/** Specs, trust in delegates, and the reasons of the pickers. */
class ModelTest {
    @Test
    fun aSpecIsReadWhole() {
        val spec = ModelSpec.parse(specText(classes = 2, activation = "softmax", more = """, "colors": [[0, 0, 0], [1, 2, 3]], "sha256": "ab" """), "x.json")
        assertEquals(Size(32, 32), spec.input.size)
        assertEquals(Dtype.UINT8, spec.input.dtype)
        assertEquals(Quantization(0.1f, 128), spec.output.quantization)
        assertEquals(Activation.SOFTMAX, spec.activation)
        assertEquals(listOf("background", "person"), spec.labels)
        assertEquals(0xFF010203.toInt(), spec.colours[1])
        assertEquals("ab", spec.sha256)
        assertFalse(spec.parts)
        assertEquals(Kind.LOGITS, spec.kind)
        assertEquals(Kind.PROBABILITIES, ModelSpec.parse(specText().replace("\"activation\"", "\"kind\": \"probabilities\", \"activation\""), "x.json").kind)
    }

    @Test
    fun fillingAndSmoothingAreTheSpecsWhereItNamesThem() {
        fun read(more: String) = ModelSpec.parse(specText(more = more), "x.json")
        assertEquals(listOf(Fill.NONE, 0.8f), read("").let { listOf(it.fill, it.smoothing) })
        assertEquals(listOf(Fill.ALL, 0.25f), read(""", "fill_contours": true, "smoothing": 0.25""").let { listOf(it.fill, it.smoothing) })
        assertEquals(listOf(Fill.LARGEST, Fill.NONE), listOf("\"largest\"", "null").map { read(""", "fill_contours": $it""").fill })
        assertThrows(ModelError::class.java) { read(""", "fill_contours": "some" """) }
        assertThrows(ModelError::class.java) { read(""", "smoothing": 1.5""") }
    }

    @Test
    fun aBrokenSpecIsAnErrorThatNamesTheFileAndTheFault() {
        for ((text, fault) in listOf(
            "not json" to "no model spec", "{}" to "input", specText(dtype = "float16") to "float16, this app knows uint8, int8, float32",
            specText(activation = "relu") to "relu", specText().replace("\"RGB\"", "\"BGR\"") to "BGR", specText(side = 0) to "0x0",
            specText(classes = 300) to "300 classes", specText().replace("\"activation\"", "\"kind\": \"labels\", \"activation\"") to "gives labels, this app reads logits and probabilities",
            specText().replace("\"activation\"", "\"kind\": \"votes\", \"activation\"") to "kind is votes", specText(more = ", \"format\": 2") to "format 2",
        )) {
            val error = assertThrows(ModelError::class.java) { ModelSpec.parse(text, "x.json") }
            assertTrue("${error.message}", "x.json" in error.message!! && fault in error.message!! && "convert.py" in error.message!!)
        }
    }

    @Test
    fun aFileThatDoesNotFitItsSpecSaysHow() {
        val spec = spec().input
        assertNull(spec.difference(intArrayOf(1, 32, 32, 3), Dtype.UINT8, Quantization(1 / 255f, 0), "input"))
        assertEquals("its input is 1x64x32x3, the spec says 1x32x32x3", spec.difference(intArrayOf(1, 64, 32, 3), Dtype.UINT8, Quantization(1 / 255f), "input"))
        assertEquals("its input is of another type, the spec says UINT8", spec.difference(intArrayOf(1, 32, 32, 3), null, Quantization(), "input"))
        assertTrue("scale 0.5" in spec.difference(intArrayOf(1, 32, 32, 3), Dtype.UINT8, Quantization(0.5f, 0), "input")!!)
    }

    private class Wrong(private val right: Segmenter) : Segmenter by right {
        override fun run(input: ByteBuffer, output: ByteBuffer) {
            right.run(input, output)
            for (i in 0 until output.capacity()) output.put(i, (255 - output.get(i)).toByte())
        }
    }

    @Test
    fun aGpuThatDiffersIsNotTrusted() {
        val told = mutableListOf<Trouble>()
        val opened = mutableMapOf<Delegate, BrightSegmenter>()
        fun open(delegate: Delegate) = BrightSegmenter(spec()).also { opened[delegate] = it }
        val kept = openTrusted(Delegate.GPU, { if (it == Delegate.GPU) Wrong(open(it)) else open(it) }, null, Size(1, 1)) { told += it }
        assertTrue(kept === opened[Delegate.CPU])
        assertEquals(1, opened[Delegate.GPU]!!.closed)
        assertEquals(Problem.GPU_NOT_TRUSTED, told.single().problem)
        val trusted = openTrusted(Delegate.GPU, ::open, null, Size(1, 1)) { told += it }
        assertTrue(trusted === opened[Delegate.GPU])
        assertEquals(1, opened[Delegate.CPU]!!.closed)
    }

    @Test
    fun aGpuThatCannotOpenLeavesTheCpu() {
        val told = mutableListOf<Trouble>()
        val cpu = BrightSegmenter(spec())
        val kept = openTrusted(Delegate.GPU, { if (it == Delegate.GPU) throw ModelError("no OpenCL") else cpu }, null, Size(1, 1)) { told += it }
        assertTrue(kept === cpu && cpu.closed == 0)
        assertTrue("$told", "no OpenCL" in told.single().detail!!)
    }

    @Test
    fun notANumberIsNeverTrusted() {
        assertTrue(Agreement(floatArrayOf(0f, 1f), floatArrayOf(0.01f, 0.99f), 0.5f).trusted)
        assertFalse(Agreement(floatArrayOf(0f, 1f), floatArrayOf(0f, Float.NaN), 0.5f).trusted)
        assertFalse(Agreement(floatArrayOf(0f, 1f), floatArrayOf(0.6f, 1f), 0.5f).trusted)
    }

    @Test
    fun coverageIsReadFromTheRuntimesLog() {
        fun replacing(taken: Int) = "Replacing $taken out of 104 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions for the whole graph.\n"
        val (own, next) = List(2) { openingLine() }
        assertEquals("101 of 104 operations on XNNPack, 3 partitions", coverage("$own\nINFO: Created\n${replacing(101)}", own))
        assertEquals("the next model is another", "101 of 104 operations on XNNPack, 3 partitions", coverage("$own\n${replacing(101)}$next\n${replacing(7)}", own))
        assertNull("of the model before, and of the next one", coverage("${replacing(7)}$own\nINFO: Created\n$next\n${replacing(7)}", own))
        assertNull("the line is no longer there", coverage(replacing(7), own))
        assertNull("the system gives no log", coverage("", own))
    }

    @Test
    fun aDriverThatTookTheAppDownIsRememberedAtTheNextStart() {
        val file = File.createTempFile("attempt", "").apply { delete() }
        val attempt = Attempt(file)
        assertNull(attempt.lost)
        assertEquals(3, attempt.make("portrait") { assertTrue(file.readText().endsWith("\nportrait")); 3 })
        assertThrows(ModelError::class.java) { attempt.make("portrait") { throw ModelError("no OpenCL") } }
        assertNull("an error that came back is no crash", attempt.lost)
        file.writeText("an earlier process\nportrait") // as a crash leaves it
        assertEquals("portrait", attempt.lost)
        attempt.forget()
        assertNull(attempt.lost)
        assertFalse(file.exists())
    }

    @Test
    fun anAttemptThatGoesOnInThisProcessIsNotLostAndKeepsItsMarker() {
        val file = File.createTempFile("attempt", "").apply { delete() }
        Attempt(file).make("portrait") {
            val next = Attempt(file) // of the activity after a change of the language, say
            assertNull(next.lost)
            next.forget()
            assertTrue(file.exists())
            file.writeText("another attempt's\nparts")
        }
        assertEquals("an end removes its own marker alone", "parts", Attempt(file).lost)
        file.delete()
    }

    @Test
    fun anAttemptIsMadeWhereNoMarkerCanBeWritten() {
        val attempt = Attempt(File("/no such folder/attempt"))
        assertEquals(3, attempt.make("portrait") { 3 })
        assertNull(attempt.lost)
        attempt.forget()
    }

    @Test
    fun aGpuThatThrowsWhileItIsComparedLeavesTheCpuAndNothingOpen() {
        val opened = mutableListOf<BrightSegmenter>()
        val throwing = { delegate: Delegate ->
            val model = BrightSegmenter(spec()).also { opened += it }
            if (delegate == Delegate.GPU) object : Segmenter by model {
                override fun run(input: ByteBuffer, output: ByteBuffer) = throw IllegalArgumentException("lost")
            } else model
        }
        val kept = openTrusted(Delegate.GPU, throwing, null, Size(1, 1)) { }
        assertEquals(listOf(0, 1), opened.map { it.closed })
        assertTrue(kept === opened[0])
    }
}
