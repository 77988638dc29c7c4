package pocketseg

import android.Manifest
import android.app.Activity
import android.app.Application
import android.app.Dialog
import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Canvas
import android.net.Uri
import android.os.Build
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.ListView
import android.widget.TextView
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Before
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowAlertDialog
import org.robolectric.shadows.ShadowDialog
import org.robolectric.util.ReflectionHelpers
import pocketseg.demo.Choice
import pocketseg.demo.LiteRtSegmenter
import pocketseg.demo.MainActivity
import pocketseg.demo.R
import pocketseg.demo.openCamera
import pocketseg.demo.openModel
import pocketseg.model.Device
import pocketseg.pixels.Size
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.security.MessageDigest

/** What the tests of the app share: models and photos to give it, and how to press and look. */
abstract class AppFixture {
    val context: Application get() = RuntimeEnvironment.getApplication()
    val controllers = mutableListOf<ActivityController<*>>()
    private val realCamera = openCamera

    @Before
    fun models() {
        model("portrait", specText("portrait"))
        model("parts", specText("parts", classes = 4, activation = "softmax").replace("\"person\"", "\"hair\", \"skin\", \"clothes\""))
        File(context.filesDir, "models/lonely.tflite").writeText("0000TFL3")
        openModel = { spec, _, delegate, threads -> BrightSegmenter(spec, Device(delegate, threads)) }
    }

    private val different = mutableListOf<String>()

    @After
    fun close() {
        controllers.forEach { it.close() }
        openModel = LiteRtSegmenter::open
        openCamera = realCamera
        check(different.isEmpty()) { different.joinToString("\n") }
    }

    fun model(name: String, spec: String) {
        val folder = File(context.filesDir, "models").apply { mkdirs() }
        val bytes = "0000TFL3 $name".toByteArray()
        val hash = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
        File(folder, "$name.tflite").writeBytes(bytes)
        File(folder, "$name.json").writeText(JSONObject(spec).put("sha256", hash).toString())
    }

    /** One frame after the other from a camera whose right half is bright. */
    fun fakeCamera(size: Size = Size(640, 480)): MutableList<FakeCamera> {
        shadowOf(context).grantPermissions(Manifest.permission.CAMERA)
        val cameras = mutableListOf<FakeCamera>()
        openCamera = { _, _ -> FakeCamera(20, size = size).also { cameras += it } }
        return cameras
    }

    /** With the models listed, and the test's own "portrait" chosen. */
    fun launch(intent: Intent? = null): MainActivity {
        val activity = Robolectric.buildActivity(MainActivity::class.java, intent).also { controllers += it }.setup().get()
        wait("the models") { activity.state.models != null }
        if (activity.state.chosen.none { it == "portrait" || it == "parts" }) activity.update { copy(chosen = listOf("portrait")) }
        return activity
    }

    inline fun <reified T : Activity> start(): T = Robolectric.buildActivity(T::class.java).also { controllers += it }.setup().get()

    fun png(width: Int, height: Int, pixels: (Int, Int) -> Int): ByteArray {
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        bitmap.setPixels(IntArray(width * height) { pixels(it % width, it / width) }, 0, width, 0, 0, width, height)
        return ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }.toByteArray()
    }

    fun offer(uri: String, bytes: ByteArray) =
        shadowOf(context.contentResolver).registerInputStreamSupplier(Uri.parse(uri)) { ByteArrayInputStream(bytes) }

    /** The display names of the documents of content://files, as their provider tells them. */
    open class Names : ContentProvider() {
        override fun onCreate() = true

        override fun query(uri: Uri, columns: Array<String>?, selection: String?, arguments: Array<String>?, order: String?): Cursor =
            MatrixCursor(columns).apply { addRow(listOf(uri.lastPathSegment)) }

        override fun getType(uri: Uri): String? = null

        override fun insert(uri: Uri, values: ContentValues?): Uri? = null

        override fun update(uri: Uri, values: ContentValues?, selection: String?, arguments: Array<String>?) = 0

        override fun delete(uri: Uri, selection: String?, arguments: Array<String>?) = 0
    }

    /** A photo whose right half is bright, as the picker gives it. */
    fun choosePhoto(
        activity: Activity, width: Int = 120, height: Int = 160,
        pixels: (Int, Int) -> Int = { x, _ -> if (x < width / 2) 0xFF204060.toInt() else 0xFFE8D8C8.toInt() },
    ) {
        offer("content://gallery/photo.png", png(width, height, pixels))
        click(activity, R.id.gallery)
        var asked = shadowOf(activity).nextStartedActivityForResult
        while (asked.intent.action != Intent.ACTION_OPEN_DOCUMENT) asked = shadowOf(activity).nextStartedActivityForResult
        assertEquals(listOf("image/*", "video/*"), asked.intent.getStringArrayExtra(Intent.EXTRA_MIME_TYPES)!!.toList())
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(Uri.parse("content://gallery/photo.png")))
    }

    fun click(activity: Activity, id: Int) {
        activity.findViewById<View>(id).performClick()
        idle()
    }

    fun idle() = shadowOf(Looper.getMainLooper()).idle()

    /** The question for a place, after what was started before, such as that for the camera. */
    fun placeAsked(activity: Activity): Intent {
        var asked: Intent? = null
        wait("the question for a place") {
            shadowOf(activity).nextStartedActivityForResult?.also { asked = it.intent }?.intent?.action == Intent.ACTION_CREATE_DOCUMENT
        }
        return asked!!
    }

    fun onAndroid9(test: () -> Unit) {
        ReflectionHelpers.setStaticField(Build.VERSION::class.java, "SDK_INT", 28)
        try {
            test()
        } finally {
            ReflectionHelpers.setStaticField(Build.VERSION::class.java, "SDK_INT", 35)
        }
    }

    /** The window, and over it the sheet when one is open. */
    fun draw(activity: Activity): Bitmap {
        val root = activity.window.decorView
        val bitmap = Bitmap.createBitmap(root.width, root.height, Bitmap.Config.ARGB_8888)
        val canvas = Canvas(bitmap)
        root.draw(canvas)
        val open = ShadowDialog.getLatestDialog()?.takeIf { it.isShowing && it.findViewById<View>(R.id.sheet) != null } ?: return bitmap
        canvas.drawColor(0x59000000)
        val over = open.window!!.decorView
        canvas.translate((root.width - over.width) / 2f, (root.height - over.height).toFloat())
        over.draw(canvas)
        return bitmap
    }

    /** The colour in the middle of the left or right half of the picture on the screen, whose [shape] is width to height. */
    fun colour(activity: Activity, left: Boolean, shape: Pair<Int, Int> = 120 to 160): Int {
        val picture = activity.findViewById<View>(R.id.picture)
        val bitmap = Bitmap.createBitmap(picture.width, picture.height, Bitmap.Config.ARGB_8888)
        picture.draw(Canvas(bitmap))
        val shown = minOf(picture.width, picture.height * shape.first / shape.second)
        return bitmap.getPixel(picture.width / 2 + (if (left) -shown else shown) / 4, picture.height / 2)
    }

    fun wait(what: String, condition: () -> Boolean) = waitUntil(what) { idle(); condition() }

    fun near(expected: Int, actual: Int) = listOf(16, 8, 0).all { Math.abs((expected shr it and 255) - (actual shr it and 255)) <= 4 }

    val list: ListView get() = ShadowAlertDialog.getLatestAlertDialog().listView

    lateinit var opened: Dialog

    val sheet: Dialog get() {
        ShadowDialog.getShownDialogs().lastOrNull { it.findViewById<View>(R.id.sheet) != null }?.let { opened = it }
        return opened
    }

    fun <T : View> sheetView(id: Int): T = sheet.findViewById(id)

    fun pickFrom(position: Int) {
        shadowOf(list).performItemClick(position)
        idle()
    }

    fun pickModel(activity: Activity, name: String) {
        click(activity, R.id.model)
        pickFrom((0 until list.adapter.count).first { (list.adapter.getItem(it) as Choice<*>).label == name })
    }

    fun visible(activity: Activity, id: Int) = activity.findViewById<View>(id).visibility == View.VISIBLE

    fun text(activity: Activity, id: Int) = activity.findViewById<TextView>(id).text.toString()

    fun all(view: View): List<View> = listOf(view) + if (view is ViewGroup) (0 until view.childCount).flatMap { all(view.getChildAt(it)) } else emptyList()

    /** Kept for the README, and compared with the one there: the same to the eye. */
    fun screenshot(activity: Activity, name: String) {
        idle()
        val drawn = draw(activity)
        System.getProperty("screenshots")?.let { folder ->
            File(folder).mkdirs()
            File(folder, "$name.jpg").outputStream().use { drawn.compress(Bitmap.CompressFormat.JPEG, 88, it) }
        }
        val kept = File(if (File("app").isDirectory) "screenshots/$name.jpg" else "../screenshots/$name.jpg")
        if (!kept.isFile) {
            different += "$kept is missing: look at build/screenshots and copy it"
            return
        }
        val expected = BitmapFactory.decodeFile(kept.path)
        assertEquals(name, listOf(expected.width, expected.height), listOf(drawn.width, drawn.height))
        var far = 0
        for (y in 0 until drawn.height) for (x in 0 until drawn.width) {
            val (a, b) = drawn.getPixel(x, y) to expected.getPixel(x, y)
            if (listOf(16, 8, 0).any { Math.abs((a shr it and 255) - (b shr it and 255)) > 40 }) far++
        }
        val share = far.toDouble() / (drawn.width * drawn.height)
        if (share >= 0.01) different += "$name differs from $kept in ${"%.1f".format(100 * share)} % of its pixels: look at build/screenshots"
    }
}
