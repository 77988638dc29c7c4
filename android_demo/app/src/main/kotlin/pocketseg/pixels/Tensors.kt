package pocketseg.pixels

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.roundToInt

enum class Dtype(val bytes: Int) { UINT8(1), INT8(1), FLOAT32(4) }

enum class Activation { SIGMOID, SOFTMAX }

/** What a model gives of each class. */
enum class Kind { LOGITS, PROBABILITIES }

/** real = (stored - zeroPoint) * scale; of no meaning for FLOAT32. */
data class Quantization(val scale: Float = 1f, val zeroPoint: Int = 0)

/** Fills a model's input, (1, height, width, 3) RGB; the real value of a colour is its 1/255. */
class InputTensor(size: Size, private val dtype: Dtype, quantization: Quantization) {
    val buffer: ByteBuffer = ByteBuffer.allocateDirect(size.pixels * 3 * dtype.bytes).order(ByteOrder.nativeOrder())
    val pixels = IntArray(size.pixels) // the picture as the model sees it
    private val bytes = ByteArray(if (dtype == Dtype.FLOAT32) 0 else size.pixels * 3)
    private val floats = FloatArray(if (dtype == Dtype.FLOAT32) size.pixels * 3 else 0)
    private val floatView = buffer.asFloatBuffer()
    private val quantized = ByteArray(256) { quantize(it / 255f, dtype, quantization) }

    /** Resizes packed pixels to the model's size (whatever their aspect ratio) and stores them. */
    fun fill(picture: IntArray, grid: Grid) {
        grid.sampleArgb(picture, pixels)
        store()
    }

    /** Stores [pixels]. */
    fun store() {
        if (dtype == Dtype.FLOAT32) {
            for (i in pixels.indices) {
                floats[3 * i] = (pixels[i] shr 16 and 255) / 255f
                floats[3 * i + 1] = (pixels[i] shr 8 and 255) / 255f
                floats[3 * i + 2] = (pixels[i] and 255) / 255f
            }
            floatView.clear()
            floatView.put(floats)
        } else {
            for (i in pixels.indices) {
                bytes[3 * i] = quantized[pixels[i] shr 16 and 255]
                bytes[3 * i + 1] = quantized[pixels[i] shr 8 and 255]
                bytes[3 * i + 2] = quantized[pixels[i] and 255]
            }
            buffer.clear()
            buffer.put(bytes)
        }
        buffer.rewind()
    }
}

internal fun quantize(real: Float, dtype: Dtype, quantization: Quantization): Byte {
    val stored = (real / quantization.scale).roundToInt() + quantization.zeroPoint
    return (if (dtype == Dtype.INT8) stored.coerceIn(-128, 127) else stored.coerceIn(0, 255)).toByte()
}

/**
 * Reads a model's output, (1, height, width, classes) of [kind].
 *
 * [foreground]: the probability, 0-1, that a pixel is not background (class 0; of the one class when there is one).
 * [classes]: the likeliest class of each pixel; for one class 1 where the probability is at least [threshold].
 */
class OutputTensor(
    private val size: Size, private val classCount: Int, private val dtype: Dtype, private val quantization: Quantization,
    private val activation: Activation, private val threshold: Float, private val kind: Kind = Kind.LOGITS,
) {
    private val count = size.pixels * classCount
    val buffer: ByteBuffer = ByteBuffer.allocateDirect(count * dtype.bytes).order(ByteOrder.nativeOrder())
    val foreground = FloatArray(size.pixels)
    val classes = ByteArray(size.pixels)
    private val bytes = ByteArray(if (dtype == Dtype.FLOAT32) 0 else count)
    private val logits = FloatArray(count)
    private val floatView = buffer.asFloatBuffer()
    private val real = FloatArray(256) { // of a stored byte; one table look-up instead of arithmetic per value
        val stored = if (dtype == Dtype.INT8) it.toByte().toInt() else it
        logit((stored - quantization.zeroPoint) * quantization.scale)
    }

    fun read() {
        if (dtype == Dtype.FLOAT32) {
            floatView.clear()
            floatView.get(logits)
            if (kind == Kind.PROBABILITIES) for (i in logits.indices) logits[i] = logit(logits[i])
        } else {
            buffer.clear()
            buffer.get(bytes)
            for (i in 0 until count) logits[i] = real[bytes[i].toInt() and 255]
        }
        if (classCount == 1) readOne() else if (activation == Activation.SOFTMAX) readSoftmax() else readSigmoids()
    }

    /** Of a probability its logarithm, or its odds' where a sigmoid gave it: `logits` in tflite/runtime.py. */
    private fun logit(value: Float) = when {
        kind == Kind.LOGITS -> value
        activation == Activation.SOFTMAX -> ln(maxOf(value, LEAST))
        else -> ln(maxOf(value, LEAST)) - ln(maxOf(1 - value, LEAST))
    }

    private fun readOne() {
        for (i in foreground.indices) {
            foreground[i] = sigmoid(logits[i])
            classes[i] = if (foreground[i] >= threshold) 1 else 0
        }
    }

    private fun readSoftmax() {
        for (i in foreground.indices) {
            val start = i * classCount
            var best = 0
            for (c in 1 until classCount) if (logits[start + c] > logits[start + best]) best = c
            var sum = 0f
            for (c in 0 until classCount) sum += exp(logits[start + c] - logits[start + best])
            foreground[i] = 1 - exp(logits[start] - logits[start + best]) / sum
            classes[i] = best.toByte()
        }
    }

    /** Independent classes: the likeliest one, and background where none but class 0 reaches the threshold. */
    private fun readSigmoids() {
        for (i in foreground.indices) {
            val start = i * classCount
            var best = 1
            for (c in 2 until classCount) if (logits[start + c] > logits[start + best]) best = c
            foreground[i] = sigmoid(logits[start + best])
            classes[i] = if (foreground[i] >= threshold) best.toByte() else 0
        }
    }

    private companion object {
        val LEAST = exp(-30f)
    }
}

internal fun sigmoid(logit: Float) = 1 / (1 + exp(-logit))
