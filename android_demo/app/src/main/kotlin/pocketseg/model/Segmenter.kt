package pocketseg.model

import java.nio.ByteBuffer
import java.util.UUID

/** A loaded model: fills the output from the input. Used and closed on the inference thread alone. */
interface Segmenter {
    val spec: ModelSpec

    /** May be slow to ask for the first time. */
    val device: Device

    fun run(input: ByteBuffer, output: ByteBuffer)

    fun close()
}

enum class Delegate { CPU, GPU }

/** How a model is executed. [coverage] is what the runtime reported: "101 of 104 operations in 3 partitions". */
data class Device(val delegate: Delegate, val threads: Int, val coverage: String? = null)

private val REPLACING =
    Regex("""Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions""")

/** A line for the log before a model is opened, another one every time. */
fun openingLine() = "$OPENING ${UUID.randomUUID()}"

private const val OPENING = "PocketSeg opens a model:"

/**
 * The coverage in the runtime's own log (the Java API has no other way to tell) of the model that was opened after the
 * line [opening]; null where none is reported, as for a model of which the delegate takes nothing.
 */
fun coverage(log: String, opening: String): String? {
    val own = log.substringAfter(opening, "").substringBefore(OPENING)
    val (taken, all, delegate, parts) = REPLACING.findAll(own).lastOrNull()?.destructured ?: return null
    return "$taken of $all operations on ${delegate.removePrefix("TfLite").removeSuffix("Delegate")}, $parts partitions"
}

/** How far two runs of one model differ: the mean of |difference| and the share of pixels on another side of the threshold. */
class Agreement(reference: FloatArray, other: FloatArray, threshold: Float) {
    val meanDifference: Double
    val otherSide: Double

    init {
        var sum = 0.0
        var flipped = 0
        for (i in reference.indices) {
            sum += Math.abs(reference[i] - other[i])
            if ((reference[i] >= threshold) != (other[i] >= threshold)) flipped++
        }
        meanDifference = sum / reference.size
        otherSide = flipped.toDouble() / reference.size
    }

    /** Delegates round differently; a wrong kernel is far outside of this. Not a number is never trusted. */
    val trusted get() = meanDifference <= 0.02 && otherSide <= 0.02

    override fun toString() = "mean difference %.4f, %.1f %% of the pixels on another side".format(meanDifference, 100 * otherSide)
}
