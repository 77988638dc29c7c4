package pocketseg

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.ModelSpec
import pocketseg.model.Segmenter
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

    fun spec(model: String) = ModelSpec.parse(File("src/main/assets/models/$model.json").let { if (it.exists()) it else File("app/$it") }.readText(), "$model.json")

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
