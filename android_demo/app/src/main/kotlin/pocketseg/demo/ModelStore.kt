package pocketseg.demo

import android.content.Context
import android.graphics.BitmapFactory
import android.net.Uri
import android.provider.OpenableColumns
import pocketseg.model.ModelError
import pocketseg.model.ModelSpec
import pocketseg.model.Reference
import pocketseg.pixels.Size
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.Locale

/**
 * A pair of `.tflite` and `.json`, or why it is none: [problem]. [open] gives the stored bytes.
 *
 * Listing reads the specs and a few bytes; whether the file is the one that the spec was written for is seen when it is
 * opened, and when it is added.
 */
class ModelFile(val name: String, val spec: ModelSpec?, val problem: String?, val added: Boolean, val open: () -> InputStream)

/** The models of the app's assets and those that were picked from storage, which are kept in the app's own folder. */
class ModelStore(private val context: Context) {
    private val folder = File(context.filesDir, FOLDER)

    /** Reads files: not for the main thread. An added one stands in the place of the app's own of the same name. */
    fun list(): List<ModelFile> {
        val own = names(context.assets.list(FOLDER))
        val added = names(folder.list())
        return (own + (added - own.toSet())).map { name ->
            if (name in added) read(name, true) { File(folder, it).inputStream() }
            else read(name, false) { context.assets.open("$FOLDER/$it") }
        }
    }

    private fun names(files: Array<String>?): List<String> {
        val first = first()
        return files.orEmpty().filterNot { it.startsWith(".") }.map { it.substringBeforeLast('.') }.distinct()
            .sortedWith(compareBy({ it != first }, { it }))
    }

    /** The model that the app was built with, or else the one for everyday photos. */
    private fun first() =
        try {
            context.assets.open(FIRST).use { String(it.readBytes()).trim() }
        } catch (_: IOException) {
            PREFERRED
        }

    private fun read(name: String, added: Boolean, open: (String) -> InputStream): ModelFile =
        try {
            val spec = ModelSpec.parse(open("$name.json").use { String(it.readBytes()) }, "$name.json")
            val head = ByteArray(8).also { bytes -> open("$name.tflite").use { it.read(bytes) } }
            val problem = if (String(head, 4, 4, Charsets.ISO_8859_1) == "TFL3") null else "$name.tflite is no TensorFlow Lite file."
            ModelFile(name, spec, problem, added) { open("$name.tflite") }
        } catch (error: ModelError) {
            ModelFile(name, null, error.message, added) { throw error }
        } catch (error: IOException) {
            ModelFile(name, null, "$name needs both $name.tflite and $name.json.", added) { throw error }
        }

    /** Keep copies of picked files; the returned sentence says what is missing or wrong, null when all is well. */
    fun add(uris: List<Uri>): String? {
        folder.mkdirs()
        val names = mutableSetOf<String>()
        for (uri in uris) {
            var name: String? = null
            try {
                name = displayName(uri)?.substringAfterLast('/')
                if (name == null || name.substringAfterLast('.') !in setOf("tflite", "json")) {
                    return "${name ?: uri} is neither a .tflite nor a .json file."
                }
                copyIn(context, uri, File(folder, name))
                names += name.substringBeforeLast('.')
            } catch (error: SecurityException) {
                return "${name ?: uri} may not be read: ${error.message}"
            } catch (error: Exception) { // a storage provider may throw anything
                return "${name ?: uri} cannot be read: ${error.message}"
            }
        }
        return list().filter { it.added && it.name in names }.mapNotNull { it.problem ?: mismatch(it) }.ifEmpty { null }?.joinToString("\n")
    }

    private fun mismatch(file: ModelFile): String? =
        try {
            file.buffer()
            null
        } catch (error: ModelError) {
            error.message
        }

    /** Only an added one; those of the app stay, and one whose place it had is back. */
    fun remove(name: String) {
        for (type in listOf("tflite", "json")) File(folder, "$name.$type").delete()
    }

    /**
     * The photo of the assets, packed pixels, and the foreground that the project's Python finds in it with [file]; null
     * for a model without one.
     */
    fun reference(file: ModelFile): Reference? =
        if (file.added) null else try {
            val expected = decode("${file.name}.png")
            val photo = decode("portrait.png")
            Reference(photo.first, photo.second, FloatArray(expected.second.pixels) { (expected.first[it] and 255) / 255f })
        } catch (_: IOException) {
            null
        }

    private fun decode(file: String): Pair<IntArray, Size> {
        val bitmap = context.assets.open("check/$file").use(BitmapFactory::decodeStream) ?: throw IOException("no PNG")
        val pixels = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        return pixels to Size(bitmap.width, bitmap.height)
    }

    private fun displayName(uri: Uri): String? =
        context.contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use {
            if (it.moveToFirst()) it.getString(0) else null
        }

    companion object {
        const val FOLDER = "models"
        const val PREFERRED = "pocketnet-m-int8"
        private const val FIRST = "first.txt" // of the assets, by build_apk.sh MODEL.tflite
    }
}

/** The file in the direct memory that the interpreter wants. Throws [ModelError] when it is gone or another one's. */
fun ModelFile.buffer(): ByteBuffer {
    val bytes = try {
        open().use { it.readBytes() }
    } catch (error: IOException) {
        throw ModelError("$name cannot be read: ${error.message}")
    }
    val hash = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(Locale.ROOT, it) }
    if (spec?.sha256 != null && spec.sha256 != hash) throw ModelError("$name.json was written for another $name.tflite.")
    return ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder()).put(bytes).apply { rewind() }
}
