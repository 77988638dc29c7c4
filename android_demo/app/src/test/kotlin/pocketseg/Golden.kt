package pocketseg

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import pocketseg.demo.ModelStore
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelSpec
import pocketseg.model.Segmenter
import pocketseg.model.TensorSpec
import pocketseg.pixels.Dtype
import pocketseg.pixels.Size
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

/** The arrays that `golden.py` wrote. */
object Golden {
    private val folder = File(System.getProperty("golden") ?: "../build/golden")
    private val index by lazy { JSONObject(File(folder, "golden.json").readText()) }

    /** Height and width. */
    fun size(name: String): Size = index.getJSONObject(name).getJSONArray("shape").let { Size(it.getInt(1), it.getInt(0)) }

    fun bytes(name: String): ByteArray = File(folder, "$name.bin").readBytes()

    fun floats(name: String): FloatArray {
        assertEquals(name, "float32", index.getJSONObject(name).getString("dtype"))
        val buffer = ByteBuffer.wrap(bytes(name)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(buffer.remaining()).also(buffer::get)
    }

    /** The models in the app's assets when the vectors were written. */
    fun models(): List<String> = index.keys().asSequence().filter { it.startsWith("models/") }.map { it.split("/")[1] }.toSortedSet().toList()

    /** A file of the repository's app folder, where Gradle works; the script works one above. */
    fun file(path: String) = File(path).let { if (it.exists()) it else File("app/$path") }

    fun asset(name: String) = file("src/main/assets/models/$name")

    /** The model of the portrait's tests and of the screenshots. */
    fun portraitModel() = models().let { all -> all.firstOrNull { it == ModelStore.PREFERRED } ?: all.first() }

    fun spec(model: String) = ModelSpec.parse(asset("$model.json").readText(), "$model.json")

    /** RGB bytes as opaque packed pixels. */
    fun pixels(name: String): IntArray {
        val rgb = bytes(name)
        return IntArray(rgb.size / 3) {
            (0xFF shl 24) or (rgb[3 * it].toInt() and 255 shl 16) or (rgb[3 * it + 1].toInt() and 255 shl 8) or (rgb[3 * it + 2].toInt() and 255)
        }
    }
}

/** The mean over all colours of |difference|, after a check that none differs by more than [limit]. */
fun assertPixels(message: String, expected: IntArray, actual: IntArray, limit: Int): Double {
    assertEquals(message, expected.size, actual.size)
    var sum = 0L
    for (i in expected.indices) for (shift in listOf(16, 8, 0)) {
        val difference = abs((expected[i] shr shift and 255) - (actual[i] shr shift and 255))
        assertTrue("$message: pixel $i, ${Integer.toHexString(expected[i])} became ${Integer.toHexString(actual[i])}", difference <= limit)
        sum += difference
        assertEquals("$message: opaque", 255, actual[i] ushr 24)
    }
    return sum / (3.0 * expected.size)
}

/**
 * The real model in Python's interpreter, one process for each. The road around it is the app's own.
 *
 * [available] where the script or Gradle was told the project's Python.
 */
class PythonSegmenter(name: String) : Segmenter {
    override val spec = Golden.spec(name)
    override val device = Device(Delegate.CPU, 1)
    private val process = ProcessBuilder(python, "-c", PROGRAM, Golden.asset("$name.tflite").path, "${bytes(spec.input)}")
        .redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val given = ByteArray(bytes(spec.input))
    private val found = ByteArray(bytes(spec.output))

    private fun bytes(tensor: TensorSpec) = tensor.size.pixels * tensor.channels * tensor.dtype.bytes

    override fun run(input: ByteBuffer, output: ByteBuffer) {
        input.rewind()
        input.get(given)
        process.outputStream.apply { write(given) }.flush()
        check(process.inputStream.readNBytes(found, 0, found.size) == found.size) { "the interpreter in Python ended" }
        output.clear()
        output.put(found)
    }

    override fun close() {
        process.outputStream.close()
    }

    companion object {
        private val python: String? = System.getProperty("python")
        val available get() = python != null && Golden.models().isNotEmpty()
        private const val PROGRAM = """
import sys
import numpy as np
sys.path[:0] = [".", "..", "../.."]
from tflite import runtime
interpreter = runtime.load_interpreter(sys.argv[1])
source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
while stored := sys.stdin.buffer.read(int(sys.argv[2])):
    interpreter.set_tensor(source["index"], np.frombuffer(stored, source["dtype"]).reshape(source["shape"]))
    interpreter.invoke()
    sys.stdout.buffer.write(interpreter.get_tensor(result["index"]).tobytes())
    sys.stdout.buffer.flush()
"""
    }
}

/** A model that knows one input, and what the interpreter gave for it in Python. */
class RecordedSegmenter(name: String) : Segmenter {
    override val spec = Golden.spec(name)
    override val device = Device(Delegate.CPU, 2)
    private val input = Golden.bytes("models/$name/input")
    private val output = Golden.bytes("models/$name/output")
    var difference = 0
        private set

    override fun run(input: ByteBuffer, output: ByteBuffer) {
        if (spec.input.dtype != Dtype.FLOAT32) {
            difference = this.input.indices.maxOf { abs((this.input[it].toInt() and 255) - (input.get(it).toInt() and 255)) }
        }
        output.clear()
        output.put(this.output)
    }

    override fun close() = Unit
}
