package pocketseg.demo

import android.graphics.drawable.BitmapDrawable
import android.graphics.drawable.Drawable
import android.graphics.drawable.GradientDrawable
import android.graphics.drawable.LayerDrawable
import android.view.Gravity
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageButton
import android.widget.LinearLayout
import android.widget.TextView
import pocketseg.live.Effect
import pocketseg.model.ModelSpec

/** Brings the main screen's views to a state, and what is done with them to the activity. */
class MainScreen(private val activity: MainActivity, private val settings: SettingsSheet) {
    private val tiles = mapOf(
        Effect.NONE to R.id.effect_none, Effect.BLUR to R.id.effect_blur, Effect.PICTURE to R.id.effect_picture,
        Effect.COLOUR to R.id.effect_colour, Effect.CUTOUT to R.id.effect_cutout, Effect.MASK to R.id.effect_mask,
    )
    private val blur = Slider(activity, view(R.id.blur_row), R.string.blur_strength, MAX_BLUR) { share ->
        activity.update { copy(look = look.copy(blur = share)) }
    }
    private var choices: Any? = null

    init {
        for ((effect, id) in tiles) onClick(id) { activity.update { copy(look = look.copy(effect = effect)) } }
        onClick(R.id.picture) { activity.update { copy(bare = !bare) } }
        onClick(R.id.gallery) { activity.pickPicture() }
        onClick(R.id.shutter) { activity.shutter() }
        onClick(R.id.record) { activity.record() }
        onClick(R.id.camera) { activity.switchCamera() }
        onClick(R.id.share) { activity.share() }
        onClick(R.id.settings) { settings.open() }
        onClick(R.id.model) { settings.pickModel() }
        onClick(R.id.allow) { activity.allowCamera() }
        onClick(R.id.action) {
            val note = activity.state.note
            activity.update { copy(note = null) }
            note?.act?.invoke()
        }
    }

    private fun <T : View> view(id: Int): T = activity.findViewById(id)

    private fun onClick(id: Int, action: () -> Unit) = view<View>(id).setOnClickListener { action() }

    fun render(state: UiState) {
        val camera = state.source is Source.Camera
        for ((effect, id) in tiles) view<View>(id).isSelected = effect == state.look.effect
        text(R.id.model, state.chosen.ifEmpty { listOf(activity.getString(R.string.no_model)) }.joinToString(" | "))
        renderActions(state)
        renderChoices(state)
        blur.render(state.look.blur)
        visible(R.id.blur_row, state.look.effect == Effect.BLUR)
        renderNote(state)
        text(R.id.numbers, state.numbersText())
        visible(R.id.numbers, state.numbers && state.report != null && !state.bare)
        renderLegend(state)
        val what = when (state.source) {
            is Source.Camera -> R.string.camera_picture
            is Source.Photo -> R.string.photo_picture
            is Source.Video -> R.string.video_picture
        }
        view<View>(R.id.picture).contentDescription = activity.getString(R.string.picture_described, activity.getString(what), activity.words(state.look.effect))
        view<View>(R.id.picture).keepScreenOn = camera || state.source is Source.Video
        visible(R.id.panel, !state.bare)
        visible(R.id.top, !state.bare)
        @Suppress("DEPRECATION") // its successor needs API 30
        with(activity.window.decorView) {
            val hidden = View.SYSTEM_UI_FLAG_FULLSCREEN or View.SYSTEM_UI_FLAG_HIDE_NAVIGATION or View.SYSTEM_UI_FLAG_IMMERSIVE_STICKY
            systemUiVisibility = if (state.bare) systemUiVisibility or hidden else systemUiVisibility and hidden.inv()
        }
        settings.render(state)
    }

    private fun renderActions(state: UiState) {
        val camera = state.source is Source.Camera
        val shutter = view<ImageButton>(R.id.shutter)
        shutter.setImageResource(if (camera) 0 else R.drawable.ic_save)
        shutter.contentDescription = activity.getString(
            if (camera) R.string.take_picture else if (state.source is Source.Video) R.string.save_video else R.string.save_picture,
        )
        tile(R.id.record, if (state.recording) R.drawable.ic_stop else R.drawable.ic_record, if (state.recording) R.string.stop_recording else R.string.record)
        view<View>(R.id.record).isSelected = state.recording
        view<View>(R.id.record).visibility = if (state.source is Source.Photo) View.INVISIBLE else View.VISIBLE
        view<View>(R.id.record).contentDescription = activity.getString(if (state.recording) R.string.stop_recording else R.string.record_video)
        tile(R.id.camera, if (camera) R.drawable.ic_flip else R.drawable.ic_camera, if (camera) R.string.flip else R.string.camera)
        view<View>(R.id.camera).contentDescription = activity.getString(if (camera) R.string.flip_camera else R.string.camera)
    }

    private fun tile(id: Int, icon: Int, word: Int) {
        val button = view<Button>(id)
        if (button.tag == icon) return
        button.tag = icon
        button.setText(word)
        button.setCompoundDrawablesWithIntrinsicBounds(0, icon, 0, 0)
    }

    private fun renderNote(state: UiState) {
        val denied = state.source is Source.Camera && !state.cameraAllowed
        val note = state.note ?: if (denied) Note(activity.getString(R.string.camera_denied)) else null
        text(R.id.message, note?.text.orEmpty())
        visible(R.id.note, note != null)
        visible(R.id.action, note?.action != null)
        note?.action?.let { text(R.id.action, activity.getString(it)) }
        visible(R.id.allow, denied && !state.bare)
    }

    /** The effect's own row: colours, or pictures to stand before. */
    private fun renderChoices(state: UiState) {
        val row = view<ViewGroup>(R.id.choices)
        val wanted = when (state.look.effect) {
            Effect.COLOUR -> state.look.colour
            Effect.PICTURE -> state.backdrop
            else -> null
        }
        row.visibility = if (wanted == null) View.GONE else View.VISIBLE
        if (choices == wanted) return
        choices = wanted
        row.removeAllViews()
        if (wanted is Int) {
            for ((name, colour) in COLOURS) {
                row.addView(round(colour(colour), activity.getString(name), colour == wanted) { activity.update { copy(look = look.copy(colour = colour)) } })
            }
        } else if (wanted != null) {
            for (backdrop in Backdrop.entries) {
                row.addView(round(thumbnail(backdrop), activity.words(backdrop), backdrop == wanted) {
                    if (backdrop == Backdrop.OWN) activity.pickBackground() else activity.update { copy(backdrop = backdrop) }
                })
            }
        }
    }

    private fun dp(length: Int) = (length * activity.resources.displayMetrics.density).toInt()

    private fun round(picture: Drawable, name: String, selected: Boolean, choose: () -> Unit) = ImageButton(activity).apply {
        layoutParams = ViewGroup.LayoutParams(dp(48), dp(48))
        contentDescription = name
        isSelected = selected
        val ring = GradientDrawable().apply {
            shape = GradientDrawable.OVAL
            setStroke(dp(if (selected) 3 else 1), activity.getColor(if (selected) R.color.accent else R.color.outline))
        }
        background = LayerDrawable(arrayOf(picture, ring)).apply {
            val gap = dp(if (selected) 8 else 5)
            setLayerInset(0, gap, gap, gap, gap)
            val edge = dp(if (selected) 3 else 5)
            setLayerInset(1, edge, edge, edge, edge)
        }
        setOnClickListener { choose() }
    }

    private fun colour(colour: Int) = GradientDrawable().apply {
        shape = GradientDrawable.OVAL
        setColor(colour)
    }

    private fun thumbnail(backdrop: Backdrop): Drawable {
        if (backdrop == Backdrop.OWN) {
            val add = activity.getDrawable(R.drawable.ic_add)!!.mutate().apply { setTint(activity.getColor(R.color.on_surface)) }
            return LayerDrawable(arrayOf(add)).apply { setLayerGravity(0, Gravity.CENTER) }
        }
        val side = dp(38)
        val square = backdrop.draw(side, side)
        val rounded = android.graphics.Bitmap.createBitmap(side, side, android.graphics.Bitmap.Config.ARGB_8888)
        val paint = android.graphics.Paint(android.graphics.Paint.ANTI_ALIAS_FLAG)
        paint.shader = android.graphics.BitmapShader(square, android.graphics.Shader.TileMode.CLAMP, android.graphics.Shader.TileMode.CLAMP)
        android.graphics.Canvas(rounded).drawCircle(side / 2f, side / 2f, side / 2f, paint)
        return BitmapDrawable(activity.resources, rounded)
    }

    private fun renderLegend(state: UiState) {
        val shown = state.files.mapNotNull { it.spec }.filter { it.parts }
        visible(R.id.legend_scroll, state.look.effect == Effect.MASK && shown.isNotEmpty() && !state.bare)
        val legend = view<LinearLayout>(R.id.legend)
        if (legend.tag == shown) return
        legend.tag = shown
        legend.removeAllViews()
        for (spec in shown) for (label in 1 until spec.output.channels) legend.addView(legendEntry(spec, label))
    }

    private fun legendEntry(spec: ModelSpec, label: Int) = TextView(activity).apply {
        text = spec.labels.getOrElse(label) { "$label" }
        setTextColor(activity.getColor(R.color.on_scrim))
        val side = textSize.toInt()
        val square = GradientDrawable().apply {
            setColor(spec.colours[label])
            cornerRadius = side / 4f
        }
        square.setBounds(0, 0, side, side)
        setCompoundDrawablesRelative(square, null, null, null)
        compoundDrawablePadding = side / 3
        setPaddingRelative(0, 0, side, 0)
    }

    /** Only when it changed, so that TalkBack does not read an unchanged message again. */
    private fun text(id: Int, text: String) {
        val view = view<TextView>(id)
        if (view.text.toString() != text) view.text = text
    }

    private fun visible(id: Int, visible: Boolean) {
        view<View>(id).visibility = if (visible) View.VISIBLE else View.GONE
    }

    private companion object {
        const val MAX_BLUR = 0.08f
        val COLOURS = listOf(
            R.string.colour_green to 0xFF00B140.toInt(), R.string.colour_blue to 0xFF1565C0.toInt(), R.string.colour_red to 0xFFC62F3B.toInt(),
            R.string.colour_white to 0xFFFFFFFF.toInt(), R.string.colour_grey to 0xFF808080.toInt(), R.string.colour_black to 0xFF000000.toInt(),
        )
    }
}
