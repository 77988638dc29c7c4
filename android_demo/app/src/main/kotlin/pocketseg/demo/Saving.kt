package pocketseg.demo

import android.content.ContentValues
import android.content.Context
import android.graphics.Bitmap
import android.net.Uri
import android.os.Build
import android.os.Environment
import android.provider.MediaStore
import pocketseg.live.Effect
import pocketseg.live.Shown
import pocketseg.pixels.Size
import java.io.File
import java.io.IOException
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale

private fun newName(type: String) = "pocketseg-${SimpleDateFormat("yyyyMMdd-HHmmss-SSS", Locale.ROOT).format(Date())}.$type"

/**
 * What is shown, in all the pixels there are, as a file that can be shared: JPEG, or PNG for a cut-out.
 *
 * A photo is read again in its full size. Throws [IOException].
 */
fun writePicture(context: Context, shown: Shown, effect: Effect, source: Source): File {
    val bitmap = when {
        source is Source.Photo && !shown.moving -> BitmapPhoto(context, source.uri).also(shown::drawOn).bitmap
        shown.moving -> shown.large().let { (pixels, size) -> bitmap(pixels, size) }
        else -> bitmap(shown.pixels, shown.size)
    }
    val transparent = effect == Effect.CUTOUT
    val file = SharedFiles.file(context, newName(if (transparent) "png" else "jpg"))
    val format = if (transparent) Bitmap.CompressFormat.PNG else Bitmap.CompressFormat.JPEG
    if (!file.outputStream().use { bitmap.compress(format, 95, it) }) throw IOException("the disk may be full")
    bitmap.recycle()
    return file
}

private fun bitmap(pixels: IntArray, size: Size) = Bitmap.createBitmap(pixels, size.width, size.height, Bitmap.Config.ARGB_8888)

fun newVideo(context: Context): File = SharedFiles.file(context, newName("mp4"))

/** Copy a finished file to where the person wanted it. Throws [IOException]. */
fun copyTo(context: Context, file: File, uri: Uri) {
    val out = context.contentResolver.openOutputStream(uri) ?: throw IOException("the place is gone")
    out.use { file.inputStream().use { input -> input.copyTo(it) } }
}

/** A copy of what is at [uri]; when it breaks off, [file] is what it was. Throws [IOException], and what a storage provider throws. */
fun copyIn(context: Context, uri: Uri, file: File) {
    val part = File(file.parentFile, ".part")
    try {
        val input = context.contentResolver.openInputStream(uri) ?: throw IOException("the file is gone")
        input.use { part.outputStream().use(it::copyTo) }
        if (!part.renameTo(file)) throw IOException("it cannot be stored")
    } finally {
        part.delete()
    }
}

/** Before Android 10 the gallery takes new files only with a permission; the person then chooses a place. */
val galleryIsOpen get() = Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q

/** A copy of [file] in the gallery's folder of this app. Throws [IOException]. */
fun addToGallery(context: Context, file: File) {
    val video = file.extension == "mp4"
    val values = ContentValues().apply {
        put(MediaStore.MediaColumns.DISPLAY_NAME, file.name)
        put(MediaStore.MediaColumns.MIME_TYPE, SharedFiles.mimeType(file.name))
        put(MediaStore.MediaColumns.RELATIVE_PATH, "${if (video) Environment.DIRECTORY_MOVIES else Environment.DIRECTORY_PICTURES}/PocketSeg")
    }
    val place = if (video) MediaStore.Video.Media.EXTERNAL_CONTENT_URI else MediaStore.Images.Media.EXTERNAL_CONTENT_URI
    val uri = context.contentResolver.insert(place, values) ?: throw IOException("the gallery takes nothing new")
    try {
        copyTo(context, file, uri)
    } catch (error: IOException) {
        context.contentResolver.delete(uri, null, null)
        throw error
    }
}
