package pocketseg.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.ContentValues
import android.content.Context
import android.graphics.Bitmap
import android.net.Uri
import android.os.Build
import android.os.Environment
import android.os.PowerManager
import android.provider.MediaStore
import android.view.Surface
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.BaseAdapter
import android.widget.TextView
import pocketseg.live.Choice
import pocketseg.pixels.Size
import java.io.IOException
import java.io.OutputStream

/** A list to choose from; what cannot be chosen is there too, with its reason. */
fun <T> Activity.pick(title: Int, choices: List<Choice<T>>, current: T?, chosen: (T) -> Unit) {
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
            label.text = if (choice.value == current) "✓ ${choice.label}" else choice.label
            label.isEnabled = choice.refusal == null
            val refusal = view.findViewById<TextView>(R.id.refusal)
            refusal.text = choice.refusal
            refusal.visibility = if (choice.refusal == null) View.GONE else View.VISIBLE
            return view
        }
    }
    AlertDialog.Builder(this).setTitle(title).setAdapter(adapter) { _, position -> chosen(choices[position].value) }.show()
}

/** From Android 15 on an app draws below the system bars; keep its controls out of them. */
fun padForSystemBars(root: View) {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return
    val (left, top, right, bottom) = listOf(root.paddingLeft, root.paddingTop, root.paddingRight, root.paddingBottom)
    root.setOnApplyWindowInsetsListener { view, insets ->
        val bars = insets.getInsets(WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout())
        view.setPadding(left + bars.left, top + bars.top, right + bars.right, bottom + bars.bottom)
        insets
    }
}

fun compress(pixels: IntArray, size: Size, out: OutputStream) {
    val bitmap = Bitmap.createBitmap(pixels, size.width, size.height, Bitmap.Config.ARGB_8888)
    if (!bitmap.compress(Bitmap.CompressFormat.PNG, 100, out)) throw IOException("the disk may be full")
    bitmap.recycle()
}

/** Throws [IOException]. */
fun writePicture(context: Context, uri: Uri, pixels: IntArray, size: Size) {
    val out = context.contentResolver.openOutputStream(uri) ?: throw IOException("the place is gone")
    out.use { compress(pixels, size, it) }
}

/** A new picture in the gallery's folder of this app; from Android 10 on that needs no permission. Throws [IOException]. */
fun addToGallery(context: Context, pixels: IntArray, size: Size) {
    val values = ContentValues().apply {
        put(MediaStore.MediaColumns.DISPLAY_NAME, "pocketseg-${System.currentTimeMillis()}.png")
        put(MediaStore.MediaColumns.MIME_TYPE, "image/png")
        put(MediaStore.MediaColumns.RELATIVE_PATH, "${Environment.DIRECTORY_PICTURES}/PocketSeg")
    }
    val uri = context.contentResolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, values)
        ?: throw IOException("the gallery takes no new picture")
    try {
        writePicture(context, uri, pixels, size)
    } catch (error: IOException) {
        context.contentResolver.delete(uri, null, null)
        throw error
    }
}

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
