package pocketseg.model

import pocketseg.pixels.Grid
import pocketseg.pixels.InputTensor
import pocketseg.pixels.OutputTensor
import pocketseg.pixels.Size
import pocketseg.pixels.palette
import java.io.File
import java.io.IOException
import java.util.UUID

/** The output's buffers for what a spec describes. */
fun outputTensor(spec: ModelSpec) = with(spec.output) {
    OutputTensor(size, channels, dtype, quantization, spec.activation, spec.threshold, spec.kind)
}

/** The foreground that a model sees in a photo of packed pixels; for comparisons, not for the hot path. */
fun foreground(segmenter: Segmenter, photo: IntArray, size: Size): FloatArray {
    val spec = segmenter.spec
    val input = InputTensor(spec.input.size, spec.input.dtype, spec.input.quantization)
    val output = outputTensor(spec)
    input.fill(photo, Grid.resize(size, spec.input.size))
    segmenter.run(input.buffer, output.buffer)
    output.read()
    return output.foreground
}

/** A photo, and the [foreground] that a model finds in it elsewhere. */
class Reference(val photo: IntArray, val size: Size, val foreground: FloatArray) {
    /** How far [segmenter] is from it; null when it gives another size, and so is another model of that name. */
    fun compare(segmenter: Segmenter): Agreement? {
        val found = foreground(segmenter, photo, size)
        return if (found.size == foreground.size) Agreement(foreground, found, segmenter.spec.threshold) else null
    }
}

/** How far two of one model differ on [photo], or on a drawing. */
fun compare(reference: Segmenter, other: Segmenter, photo: IntArray? = null, size: Size = DRAWING): Agreement {
    val pixels = photo ?: drawing(DRAWING)
    val shape = if (photo == null) DRAWING else size
    return Agreement(foreground(reference, pixels, shape), foreground(other, pixels, shape), reference.spec.threshold)
}

/**
 * A model on the wished delegate, or on the CPU when the delegate cannot run it or gives another result; a GPU that is
 * silently wrong is a known trouble. [told] gets the reason. The photo compared on is [photo], else a drawing.
 */
fun openTrusted(
    wished: Delegate, open: (Delegate) -> Segmenter, photo: IntArray?, size: Size, told: (Trouble) -> Unit,
): Segmenter {
    val cpu = open(Delegate.CPU)
    if (wished == Delegate.CPU) return cpu
    var other: Segmenter? = null
    val reason = try {
        other = open(wished)
        val agreement = compare(cpu, other, photo, size)
        if (agreement.trusted) {
            cpu.close()
            told(Trouble(Problem.GPU_TRUSTED, "${cpu.spec.name}: $agreement"))
            return other
        }
        agreement.toString()
    } catch (error: ModelError) {
        error.message
    } catch (error: RuntimeException) {
        "$error"
    }
    other?.close()
    told(Trouble(Problem.GPU_NOT_TRUSTED, "${cpu.spec.name}: $reason"))
    return cpu
}

/**
 * Remembers in [file] that something is being tried that may take the whole app down with it, as a GPU's driver can. On
 * a storage that is full it is tried all the same.
 */
class Attempt(private val file: File) {
    /** What was being tried when the app last ended; null when all attempts came back, or go on in this process. */
    val lost: String? get() = marker().takeUnless { it.isEmpty() || it.startsWith(PROCESS) }?.substringAfter('\n')

    fun <T> make(what: String, action: () -> T): T {
        val mine = "$PROCESS ${UUID.randomUUID()}\n$what"
        try {
            file.writeText(mine)
        } catch (_: IOException) {
            file.delete()
        }
        try {
            return action()
        } finally {
            if (marker() == mine) file.delete()
        }
    }

    /** What was [lost]; an attempt of this process keeps its marker. */
    fun forget() {
        if (lost != null) file.delete()
    }

    private fun marker() =
        try {
            file.readText()
        } catch (_: IOException) { // there is none
            ""
        }

    private companion object {
        val PROCESS = UUID.randomUUID().toString()
    }
}

private val DRAWING = Size(192, 256)

/** Head and shoulders in flat colours, when there is no photo yet. */
private fun drawing(size: Size) = IntArray(size.pixels) {
    val x = (it % size.width) / size.width.toDouble() - 0.5
    val y = (it / size.width) / size.height.toDouble() - 0.4
    val head = (x * x) / 0.03 + (y * y) / 0.04 < 1
    val shoulders = y > 0.22 && (x * x) / 0.16 + ((y - 0.6) * (y - 0.6)) / 0.15 < 1
    if (head) 0xFFD8A888.toInt() else if (shoulders) palette(9)[8] else 0xFF9FB4C0.toInt()
}
