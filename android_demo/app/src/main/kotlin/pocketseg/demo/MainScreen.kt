package pocketseg.demo

import android.app.Activity
import android.graphics.drawable.GradientDrawable
import android.view.View
import android.widget.LinearLayout
import android.widget.TextView
import pocketseg.live.Effect
import pocketseg.model.ModelSpec

/** Brings the main screen's views to a state. */
class MainScreen(private val activity: Activity) {
    fun render(state: UiState) {
        val effect = activity.resources.getStringArray(R.array.effects)[state.look.effect.ordinal]
        val camera = state.source as? Source.Camera
        text(R.id.effect, activity.getString(R.string.effect, effect))
        text(R.id.model, activity.getString(R.string.model, state.chosen.firstOrNull() ?: activity.getString(R.string.no_model)))
        text(R.id.compare, activity.getString(R.string.compare, state.chosen.getOrNull(1) ?: activity.getString(R.string.no_model)))
        text(R.id.camera, activity.getString(if (camera != null) R.string.flip else R.string.camera))
        visible(R.id.blur, state.look.effect == Effect.BLUR)
        visible(R.id.blur_label, state.look.effect == Effect.BLUR)
        val denied = camera != null && !state.cameraAllowed
        val message = state.message ?: if (denied) activity.getString(R.string.camera_denied) else null
        text(R.id.message, message.orEmpty())
        visible(R.id.message, message != null)
        visible(R.id.allow, denied)
        text(R.id.numbers, state.numbersText())
        visible(R.id.numbers, state.numbers && state.report != null)
        val what = when (state.source) {
            is Source.Camera -> R.string.camera_picture
            is Source.Photo -> R.string.photo_picture
            is Source.Video -> R.string.video_picture
        }
        activity.findViewById<View>(R.id.picture).contentDescription = activity.getString(R.string.picture_described, activity.getString(what), effect)
        renderLegend(state)
    }

    private fun renderLegend(state: UiState) {
        val shown = state.chosen.mapNotNull { name -> state.models.find { it.name == name }?.spec }.filter { it.parts }
        visible(R.id.legend_scroll, state.look.effect == Effect.MASK && shown.isNotEmpty())
        val legend = activity.findViewById<LinearLayout>(R.id.legend)
        if (legend.tag == shown) return
        legend.tag = shown
        legend.removeAllViews()
        for (spec in shown) for (label in 1 until spec.output.channels) legend.addView(legendEntry(spec, label))
    }

    private fun legendEntry(spec: ModelSpec, label: Int) = TextView(activity).apply {
        text = spec.labels.getOrElse(label) { "$label" }
        val side = textSize.toInt()
        val square = GradientDrawable().apply { setColor(spec.colours[label]) }
        square.setBounds(0, 0, side, side)
        setCompoundDrawablesRelative(square, null, null, null)
        compoundDrawablePadding = side / 3
        setPaddingRelative(0, 0, side, 0)
    }

    /** Only when it changed, so that TalkBack does not read an unchanged message again. */
    private fun text(id: Int, text: String) {
        val view = activity.findViewById<TextView>(id)
        if (view.text.toString() != text) view.text = text
    }

    private fun visible(id: Int, visible: Boolean) {
        activity.findViewById<View>(id).visibility = if (visible) View.VISIBLE else View.GONE
    }
}
