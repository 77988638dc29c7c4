package pocketseg.demo

import android.net.Uri
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject
import pocketseg.live.Effect
import pocketseg.live.Look
import pocketseg.live.Report
import pocketseg.model.Delegate
import pocketseg.model.Device

/** Where pictures come from. */
sealed interface Source {
    data class Camera(val front: Boolean) : Source
    data class Photo(val uri: Uri) : Source
    data class Video(val uri: Uri) : Source
}

/** A sentence on the picture, with a button where something can be done about it. It goes after a while unless it [stays]. */
data class Note(val text: String, val action: Int? = null, val stays: Boolean = false, val act: () -> Unit = {})

/** All that the main screen shows. Immutable; it changes in one place, [MainActivity.update]. */
data class UiState(
    val look: Look = Look(fillView = true),
    val backdrop: Backdrop = Backdrop.STUDIO,
    val source: Source = Source.Camera(front = true),
    /** Null until the files have been listed. */
    val models: List<ModelFile>? = null,
    /** One name, or two for a split screen. */
    val chosen: List<String> = emptyList(),
    val delegate: Delegate = Delegate.CPU,
    val threads: Int = 2,
    val numbers: Boolean = false,
    /** Moving pictures are drawn on the GPU where that agrees with the CPU. */
    val graphics: Boolean = true,
    val devices: List<Device> = emptyList(),
    val report: Report? = null,
    val thermal: String? = null,
    val cameraAllowed: Boolean = false,
    val note: Note? = null,
    /** The picture alone, without any control. */
    val bare: Boolean = false,
    val recording: Boolean = false,
) {
    /** The person's, or else the first model's. */
    val smoothing get() = look.smoothing ?: files.firstOrNull()?.spec?.smoothing ?: 0f
    val files get() = chosen.mapNotNull { name -> models?.find { it.name == name } }

    /** What is remembered from one start of the app to the next. */
    fun toJson(): String = JSONObject().apply {
        put("effect", look.effect.name)
        put("blur", look.blur.toDouble())
        put("colour", look.colour)
        put("refinement", look.refinement.toDouble())
        put("smoothing", look.smoothing?.toDouble() ?: JSONObject.NULL)
        put("fill_contours", look.fillContours)
        put("fill_view", look.fillView)
        put("backdrop", backdrop.name)
        put("front", (source as? Source.Camera)?.front ?: true)
        put("chosen", JSONArray(chosen))
        put("delegate", delegate.name)
        put("threads", threads)
        put("numbers", numbers)
        put("graphics", graphics)
    }.toString()

    companion object {
        /** What [toJson] wrote; the defaults for what another version of the app wrote. */
        fun fromJson(text: String): UiState =
            try {
                val json = JSONObject(text)
                val chosen = json.getJSONArray("chosen")
                UiState(
                    Look(
                        Effect.valueOf(json.getString("effect")), json.getDouble("blur").toFloat(), json.getInt("colour"),
                        json.getDouble("refinement").toFloat(), if (json.isNull("smoothing")) null else json.getDouble("smoothing").toFloat(),
                        json.getBoolean("fill_contours"), json.getBoolean("fill_view"),
                    ),
                    Backdrop.valueOf(json.getString("backdrop")),
                    Source.Camera(json.getBoolean("front")),
                    chosen = List(chosen.length(), chosen::getString),
                    delegate = Delegate.valueOf(json.getString("delegate")),
                    threads = json.getInt("threads"),
                    numbers = json.getBoolean("numbers"),
                    graphics = json.optBoolean("graphics", true),
                )
            } catch (_: JSONException) {
                UiState()
            } catch (_: IllegalArgumentException) {
                UiState()
            }
    }
}

/** The engineer's numbers as lines of text. */
fun UiState.numbersText(): String = buildString {
    val report = report ?: return ""
    for ((stage, p50, p90) in report.stages) append("%-14s %6.1f ms  p90 %6.1f\n".format(stage.name.lowercase(), p50, p90))
    append("%.1f frames/s, %d dropped of %d\n".format(report.framesPerSecond, report.dropped, report.dropped + report.frames))
    for ((delegate, threads, coverage) in devices) append("$delegate, threads: $threads, ${coverage ?: "coverage not reported"}\n")
    append("temperature ${thermal ?: "not reported before Android 10"}")
}
