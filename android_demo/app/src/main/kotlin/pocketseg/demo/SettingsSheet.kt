package pocketseg.demo

import android.app.Activity
import android.app.Dialog
import android.content.Intent
import android.text.SpannableStringBuilder
import android.text.Spanned
import android.text.style.ForegroundColorSpan
import android.text.style.RelativeSizeSpan
import android.view.Gravity
import android.view.View
import android.view.ViewGroup
import android.view.WindowManager
import android.widget.SeekBar
import android.widget.Switch
import android.widget.TextView
import pocketseg.live.Look

/** A named bar with its value; a share of [most]. */
class Slider(activity: Activity, row: View, name: Int, private val most: Float, private val changed: (Float) -> Unit) {
    private val bar = row.findViewById<SeekBar>(R.id.bar)
    private val value = row.findViewById<TextView>(R.id.value)
    private val context = activity

    init {
        row.findViewById<TextView>(R.id.name).setText(name)
        bar.contentDescription = context.getString(name)
        bar.isSaveEnabled = false // the state has it; several bars share one id
        bar.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, progress: Int, byPerson: Boolean) {
                if (byPerson) changed(most * progress / bar.max)
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit

            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
    }

    fun render(share: Float) {
        val progress = Math.round(share / most * bar.max)
        if (bar.progress != progress) bar.progress = progress
        value.text = context.getString(R.string.percent, progress)
    }
}

/** All that is not needed with every picture, from the lower edge. */
class SettingsSheet(private val activity: MainActivity) {
    private var dialog: Dialog? = null
    private lateinit var refinement: Slider
    private lateinit var smoothing: Slider

    fun open() {
        val dialog = Dialog(activity, R.style.Sheet)
        dialog.setContentView(R.layout.settings)
        dialog.window!!.apply {
            setGravity(Gravity.BOTTOM)
            val width = minOf(activity.resources.displayMetrics.widthPixels, (560 * activity.resources.displayMetrics.density).toInt())
            setLayout(width, ViewGroup.LayoutParams.WRAP_CONTENT)
            addFlags(WindowManager.LayoutParams.FLAG_DIM_BEHIND)
            decorView.setPadding(0, 0, 0, 0)
        }
        this.dialog = dialog
        refinement = Slider(activity, view(R.id.refinement_row), R.string.refinement, MAX_REFINEMENT) { look { copy(refinement = it) } }
        smoothing = Slider(activity, view(R.id.smoothing_row), R.string.smoothing, MAX_SMOOTHING) { look { copy(smoothing = it) } }
        onSwitch(R.id.fill_contours, activity.state.look.fillContours) { look { copy(fillContours = it) } }
        onSwitch(R.id.fill_view, activity.state.look.fillView) { look { copy(fillView = it) } }
        onSwitch(R.id.numbers_switch, activity.state.numbers) { activity.update { copy(numbers = it) } }
        onSwitch(R.id.graphics_switch, activity.state.graphics) { activity.update { copy(graphics = it) } }
        onClick(R.id.model_row) { pickModel() }
        onClick(R.id.compare_row) { pickSecond() }
        onClick(R.id.add_row) { activity.addModels() }
        onClick(R.id.remove_row) { pickRemoved() }
        onClick(R.id.delegate_row) {
            activity.pick(R.string.run_on, activity.delegateChoices(), activity.state.delegate) { activity.update { copy(delegate = it) } }
        }
        onClick(R.id.threads_row) {
            val choices = activity.threadChoices(Runtime.getRuntime().availableProcessors(), activity.state.delegate)
            activity.pick(R.string.threads, choices, activity.state.threads) { activity.update { copy(threads = it) } }
        }
        onClick(R.id.benchmark_row) {
            activity.startActivity(Intent(activity, BenchmarkActivity::class.java).putExtra(BenchmarkActivity.MODEL, activity.state.chosen.firstOrNull()))
        }
        onClick(R.id.licences_row) { activity.startActivity(Intent(activity, LicencesActivity::class.java)) }
        dialog.setOnDismissListener { this.dialog = null }
        render(activity.state)
        dialog.show()
    }

    private fun <T : View> view(id: Int): T = dialog!!.findViewById(id)

    private fun look(change: Look.() -> Look) = activity.update { copy(look = look.change()) }

    private fun onClick(id: Int, action: () -> Unit) = view<View>(id).setOnClickListener { action() }

    private fun onSwitch(id: Int, value: Boolean, change: (Boolean) -> Unit) = with(view<Switch>(id)) {
        isSaveEnabled = false
        isChecked = value
        setOnCheckedChangeListener { _, checked -> change(checked) }
    }

    fun render(state: UiState) {
        if (dialog == null) return
        refinement.render(state.look.refinement)
        smoothing.render(state.smoothing)
        val none = activity.getString(R.string.no_model)
        row(R.id.model_row, R.string.model, state.chosen.firstOrNull() ?: none)
        row(R.id.compare_row, R.string.compare, state.chosen.getOrNull(1) ?: none)
        row(R.id.add_row, R.string.add_models, null)
        row(R.id.remove_row, R.string.remove_model, null)
        view<View>(R.id.remove_row).visibility = if (state.models.orEmpty().any { it.added }) View.VISIBLE else View.GONE
        row(R.id.delegate_row, R.string.run_on, activity.words(state.delegate))
        row(R.id.threads_row, R.string.threads, "${state.threads}")
        row(R.id.benchmark_row, R.string.benchmark, null)
        row(R.id.licences_row, R.string.licences, null)
    }

    private fun row(id: Int, name: Int, value: String?) {
        val text = SpannableStringBuilder(activity.getString(name))
        if (value != null) {
            val from = text.length
            text.append("\n").append(value)
            text.setSpan(RelativeSizeSpan(0.875f), from, text.length, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE)
            text.setSpan(ForegroundColorSpan(activity.getColor(R.color.soft)), from, text.length, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE)
        }
        view<TextView>(id).text = text
    }

    fun pickModel() {
        activity.pick(R.string.model, activity.modelChoices(activity.state.models.orEmpty(), null), activity.state.chosen.firstOrNull()) {
            activity.update { copy(chosen = (listOf(it) + chosen.drop(1)).distinct()) }
        }
    }

    private fun pickSecond() {
        val none = Choice("", activity.getString(R.string.compare_off))
        val choices = listOf(none) + activity.modelChoices(activity.state.models.orEmpty(), activity.state.chosen.firstOrNull())
        activity.pick(R.string.compare_title, choices, activity.state.chosen.getOrElse(1) { "" }) {
            activity.update { copy(chosen = if (it == "") chosen.take(1) else chosen.take(1) + it) }
        }
    }

    private fun pickRemoved() {
        val added = activity.state.models.orEmpty().filter { it.added }.map { Choice(it.name, it.name) }
        activity.pick(R.string.remove_model, added, null) { activity.removeModel(it) }
    }

    private companion object {
        const val MAX_REFINEMENT = 0.05f
        const val MAX_SMOOTHING = 0.95f
    }
}
