package pocketseg.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/** Lends files of one cache folder, read-only, to the app that a share was sent to (androidx has a larger one). */
class SharedFiles : ContentProvider() {
    override fun onCreate() = true

    private fun file(uri: Uri): File {
        val folder = folder(context!!)
        val file = File(folder, uri.lastPathSegment.orEmpty())
        if (file.parentFile != folder || !file.isFile) throw FileNotFoundException(uri.toString())
        return file
    }

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        if (mode != "r") throw FileNotFoundException("$uri can be read only")
        return ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun getType(uri: Uri) = mimeType(uri.lastPathSegment.orEmpty())

    override fun query(uri: Uri, projection: Array<String>?, selection: String?, arguments: Array<String>?, order: String?): Cursor {
        val columns = projection ?: arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE)
        val file = file(uri)
        return MatrixCursor(columns).apply {
            addRow(columns.map { if (it == OpenableColumns.SIZE) file.length() else if (it == OpenableColumns.DISPLAY_NAME) file.name else null })
        }
    }

    override fun insert(uri: Uri, values: ContentValues?) = null

    override fun update(uri: Uri, values: ContentValues?, selection: String?, arguments: Array<String>?) = 0

    override fun delete(uri: Uri, selection: String?, arguments: Array<String>?) = 0

    companion object {
        private fun folder(context: Context) = File(context.cacheDir, "shared").apply { mkdirs() }

        /** A place for a new file that can be shared; those older than a day go. */
        fun file(context: Context, name: String): File {
            val folder = folder(context)
            val yesterday = System.currentTimeMillis() - 24 * 3600 * 1000
            folder.listFiles().orEmpty().filter { it.lastModified() < yesterday }.forEach { it.delete() }
            return File(folder, name)
        }

        fun mimeType(name: String) = when (name.substringAfterLast('.')) {
            "json" -> "application/json"
            "mp4" -> "video/mp4"
            "jpg" -> "image/jpeg"
            else -> "image/png"
        }

        /** An intent that shares a [file] of [SharedFiles.file]. */
        fun share(context: Context, file: File, title: String): Intent {
            val uri = Uri.parse("content://${context.packageName}.files/${file.name}")
            val send = Intent(Intent.ACTION_SEND).setType(mimeType(file.name)).putExtra(Intent.EXTRA_STREAM, uri)
                .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
            send.clipData = android.content.ClipData.newRawUri(file.name, uri)
            return Intent.createChooser(send, title)
        }
    }
}
