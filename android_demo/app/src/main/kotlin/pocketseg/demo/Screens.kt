package pocketseg.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Context
import android.os.Build
import android.os.PowerManager
import android.view.Surface
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.BaseAdapter
import android.widget.TextView

/** A list to choose from; what cannot be chosen is there too, with its reason. */
fun <T> Activity.pick(title: Int, choices: List<Choice<T>>, current: T?, chosen: (T) -> Unit) {
    val context = this
    val adapter = object : BaseAdapter() {
        override fun getCount() = choices.size

        override fun getItem(position: Int) = choices[position]

        override fun getItemId(position: Int) = position.toLong()

        override fun isEnabled(position: Int) = choices[position].refusal == null

        override fun areAllItemsEnabled() = false

        override fun getView(position: Int, old: View?, parent: ViewGroup): View {
            val view = old ?: layoutInflater.inflate(R.layout.choice, parent, false)
            val choice = choices[position]
            val label = view.findViewById<TextView>(R.id.label)
            label.text = choice.label
            val check = if (choice.value == current) context.getDrawable(R.drawable.ic_check)?.mutate() else null
            check?.setTint(context.getColor(R.color.accent))
            label.setCompoundDrawablesRelativeWithIntrinsicBounds(null, null, check, null)
            label.contentDescription = if (choice.value == current) "✓ ${choice.label}" else null
            label.isEnabled = choice.refusal == null
            val refusal = view.findViewById<TextView>(R.id.refusal)
            refusal.text = choice.refusal
            refusal.visibility = if (choice.refusal == null) View.GONE else View.VISIBLE
            return view
        }
    }
    AlertDialog.Builder(this).setTitle(title).setAdapter(adapter) { _, position -> chosen(choices[position].value) }.show()
}

/** The window reaches below the system's bars on every Android; [pad] keeps controls out of them. */
fun Activity.drawBehindBars(vararg pad: View) {
    @Suppress("DEPRECATION") // their successors need API 30
    window.decorView.systemUiVisibility = View.SYSTEM_UI_FLAG_LAYOUT_STABLE or View.SYSTEM_UI_FLAG_LAYOUT_FULLSCREEN or
        View.SYSTEM_UI_FLAG_LAYOUT_HIDE_NAVIGATION
    for (view in pad) {
        val (left, top, right, bottom) = listOf(view.paddingLeft, view.paddingTop, view.paddingRight, view.paddingBottom)
        view.setOnApplyWindowInsetsListener { padded, insets ->
            val (l, t, r, b) = edges(insets)
            val first = padded === pad.first() // reaches the upper edge, the last one the lower edge
            val last = padded === pad.last()
            padded.setPadding(left + l, top + if (first) t else 0, right + r, bottom + if (last) b else 0)
            insets
        }
    }
}

@Suppress("DEPRECATION") // their successors need API 30
private fun edges(insets: WindowInsets) =
    listOf(insets.systemWindowInsetLeft, insets.systemWindowInsetTop, insets.systemWindowInsetRight, insets.systemWindowInsetBottom)

/** How far the display is turned from how the phone is held by nature. */
fun displayDegrees(activity: Activity): Int {
    @Suppress("DEPRECATION") // its successor needs API 30
    return when (activity.windowManager.defaultDisplay.rotation) {
        Surface.ROTATION_90 -> 90
        Surface.ROTATION_180 -> 180
        Surface.ROTATION_270 -> 270
        else -> 0
    }
}

/** Null where Android does not tell. */
fun thermalStatus(context: Context): String? {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) return null
    return when (context.getSystemService(PowerManager::class.java).currentThermalStatus) {
        PowerManager.THERMAL_STATUS_NONE -> "normal"
        PowerManager.THERMAL_STATUS_LIGHT -> "warm"
        PowerManager.THERMAL_STATUS_MODERATE -> "hot, throttled a little"
        PowerManager.THERMAL_STATUS_SEVERE -> "hot, throttled"
        else -> "critical"
    }
}
