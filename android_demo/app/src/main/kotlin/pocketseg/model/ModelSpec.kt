package pocketseg.model

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject
import pocketseg.pixels.Activation
import pocketseg.pixels.Dtype
import pocketseg.pixels.Fill
import pocketseg.pixels.Kind
import pocketseg.pixels.Quantization
import pocketseg.pixels.Size
import pocketseg.pixels.palette

/** A model that cannot be used; the message says what was found and what is needed. */
class ModelError(message: String) : Exception(message)

/** What `x.json` says about `x.tflite`; nothing about a model is written down anywhere else. */
class ModelSpec(
    val name: String,
    val network: String,
    val input: TensorSpec,
    val output: TensorSpec,
    val kind: Kind,
    val activation: Activation,
    /** Background first, as [colours]: two of each for a network with one logit. */
    val labels: List<String>,
    val colours: IntArray,
    val threshold: Float,
    val fill: Fill,
    /** The share of the previous frame's mask that stays where the picture is still, 0 to below 1. */
    val smoothing: Float,
    /** Of the `.tflite`. */
    val sha256: String?,
    val licence: String?,
) {
    val parts get() = output.channels > 2

    companion object {
        /** [file] is named in messages. Throws [ModelError]. */
        fun parse(text: String, file: String): ModelSpec =
            try {
                Reader(JSONObject(text)).spec(file)
            } catch (error: JSONException) {
                throw ModelError("$file is no model spec: ${error.message}. Write it again with tflite/convert.py.")
            } catch (error: IllegalArgumentException) {
                throw ModelError("$file: ${error.message}. Write it again with tflite/convert.py.")
            }
    }
}

/** One image-shaped tensor, (1, height, width, channels). */
data class TensorSpec(val size: Size, val channels: Int, val dtype: Dtype, val quantization: Quantization) {
    val shape get() = intArrayOf(1, size.height, size.width, channels)

    /** Null when the file's own tensor is the same, else what differs. */
    fun difference(shape: IntArray, dtype: Dtype?, quantization: Quantization, what: String): String? = when {
        !shape.contentEquals(this.shape) ->
            "its $what is ${shape.joinToString("x")}, the spec says ${this.shape.joinToString("x")}"
        dtype != this.dtype -> "its $what is ${dtype ?: "of another type"}, the spec says ${this.dtype}"
        dtype != Dtype.FLOAT32 && (
            Math.abs(quantization.scale / this.quantization.scale - 1) > 1e-4 ||
                quantization.zeroPoint != this.quantization.zeroPoint
            ) ->
            "its $what has scale ${quantization.scale} and zero point ${quantization.zeroPoint}, the spec says " +
                "${this.quantization.scale} and ${this.quantization.zeroPoint}"
        else -> null
    }
}

private class Reader(private val json: JSONObject) {
    fun spec(file: String): ModelSpec {
        require(json.optInt("format", 1) == 1) { "format ${json.getInt("format")}, this app reads format 1" }
        val input = json.getJSONObject("input")
        val output = json.getJSONObject("output")
        require(input.optString("color_order", "RGB") == "RGB") {
            "the colour order is ${input.getString("color_order")}, this app gives RGB"
        }
        val kind = output.optString("kind", "logits")
        require(kind != "labels") { "the model gives labels, this app reads logits and probabilities: convert it without --output" }
        val classes = output.getInt("classes")
        require(classes in 1..256) { "$classes classes, this app takes 1 to 256" }
        val labels = json.optJSONArray("labels")
        val colours = palette(classes)
        val given = json.optJSONArray("colors")
        for (label in 0 until minOf(given?.length() ?: 0, 256)) colours[label] = colour(given!!.getJSONArray(label))
        return ModelSpec(
            name = json.optString("name", file.removeSuffix(".json")),
            network = json.optString("network", "unknown"),
            input = tensor(input, input.optInt("channels", 3)),
            output = tensor(output, classes),
            kind = choice<Kind>(kind, "output's kind"),
            activation = choice<Activation>(output.getString("activation"), "activation"),
            labels = List(labels?.length() ?: 0) { labels!!.getString(it) },
            colours = colours,
            threshold = json.optDouble("threshold", 0.5).toFloat(),
            fill = fill(json.opt("fill_contours")),
            smoothing = json.optDouble("smoothing", SMOOTHING).toFloat().also { require(it >= 0 && it < 1) { "a smoothing of $it" } },
            sha256 = json.optString("sha256", "").ifEmpty { null },
            licence = json.optString("licence", "").ifEmpty { null },
        )
    }

    private fun fill(value: Any?) = when (value) {
        null, false, JSONObject.NULL -> Fill.NONE
        true -> Fill.ALL
        else -> choice<Fill>("$value", "fill_contours")
    }

    private fun tensor(json: JSONObject, channels: Int): TensorSpec {
        val size = Size(json.getInt("width"), json.getInt("height"))
        require(size.width in 1..4096 && size.height in 1..4096) { "a tensor of ${size.width}x${size.height}" }
        require(channels >= 1) { "a tensor of $channels channels" }
        val dtype = choice<Dtype>(json.getString("dtype"), "dtype")
        val quantized = dtype != Dtype.FLOAT32
        val scale = if (quantized) json.getDouble("scale").toFloat() else 1f
        require(scale > 0) { "a quantization scale of $scale" }
        return TensorSpec(size, channels, dtype, Quantization(scale, if (quantized) json.getInt("zero_point") else 0))
    }

    private inline fun <reified T : Enum<T>> choice(text: String, what: String): T =
        requireNotNull(enumValues<T>().firstOrNull { it.name == text.uppercase() }) {
            "the $what is $text, this app knows ${enumValues<T>().joinToString { it.name.lowercase() }}"
        }

    private companion object {
        const val SMOOTHING = 0.8 // keras_models/smoothing.py
    }

    private fun colour(rgb: JSONArray) = (0..2).fold(0xFF) { packed, i -> packed shl 8 or (rgb.getInt(i) and 255) }
}
