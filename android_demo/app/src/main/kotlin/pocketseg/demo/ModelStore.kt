package pocketseg.demo

import android.content.Context
import android.net.Uri
import android.provider.OpenableColumns
import pocketseg.model.ModelError
import pocketseg.model.ModelSpec
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.Locale

/** A pair of `.tflite` and `.json`, or why it is none: [problem]. */
class ModelFile(val name: String, val spec: ModelSpec?, val problem: String?, val bytes: () -> ByteArray)

/** The models of the app's assets and those that were picked from storage, which are kept in the app's own folder. */
class ModelStore(private val context: Context) {
    private val folder = File(context.filesDir, FOLDER)

    fun list(): List<ModelFile> {
        val assets = context.assets.list(FOLDER).orEmpty().toSet()
        val picked = folder.list().orEmpty().toSet()
        return names(assets).map { read(it) { file -> context.assets.open("$FOLDER/$file").use { stream -> stream.readBytes() } } } +
            names(picked - assets).map { read(it) { file -> File(folder, file).readBytes() } }
    }

    private fun names(files: Set<String>) = files.map { it.substringBeforeLast('.') }.distinct().sorted()

    private fun read(name: String, open: (String) -> ByteArray): ModelFile =
        try {
            val spec = ModelSpec.parse(String(open("$name.json")), "$name.json")
            val bytes = { open("$name.tflite") }
            ModelFile(name, spec, problem(name, spec, bytes()), bytes)
        } catch (error: ModelError) {
            ModelFile(name, null, error.message) { throw error }
        } catch (error: IOException) {
            ModelFile(name, null, "$name needs both $name.tflite and $name.json.") { throw error }
        }

    private fun problem(name: String, spec: ModelSpec, bytes: ByteArray): String? {
        if (String(bytes, 4, minOf(4, maxOf(0, bytes.size - 4)), Charsets.ISO_8859_1) != "TFL3") return "$name.tflite is no TensorFlow Lite file."
        val hash = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(Locale.ROOT, it) }
        if (spec.sha256 != null && spec.sha256 != hash) return "$name.json was written for another $name.tflite."
        return null
    }

    /** Keep copies of picked files; the returned sentence says what is missing or wrong, null when all is well. */
    fun add(uris: List<Uri>): String? {
        folder.mkdirs()
        for (uri in uris) {
            val name = displayName(uri)?.substringAfterLast('/')
            if (name == null || name.substringAfterLast('.') !in setOf("tflite", "json")) {
                return "${name ?: uri} is neither a .tflite nor a .json file."
            }
            try {
                context.contentResolver.openInputStream(uri)!!.use { input -> File(folder, name).outputStream().use(input::copyTo) }
            } catch (error: IOException) {
                return "$name cannot be read: ${error.message}"
            }
        }
        return list().mapNotNull { it.problem }.ifEmpty { null }?.joinToString("\n")
    }

    private fun displayName(uri: Uri): String? =
        context.contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use {
            if (it.moveToFirst()) it.getString(0) else null
        }

    companion object {
        const val FOLDER = "models"
    }
}

/** The file in the direct memory that the interpreter wants. Throws [ModelError] when it is gone. */
fun ModelFile.buffer(): ByteBuffer {
    val bytes = try {
        bytes()
    } catch (error: IOException) {
        throw ModelError("$name cannot be read: ${error.message}")
    }
    return ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder()).put(bytes).apply { rewind() }
}
