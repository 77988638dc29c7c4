package pocketseg

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.graphics.Canvas
import android.net.Uri
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ListView
import android.widget.SeekBar
import android.widget.TextView
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowAlertDialog
import pocketseg.demo.BenchmarkActivity
import pocketseg.demo.LiteRtSegmenter
import pocketseg.demo.MainActivity
import pocketseg.demo.R
import pocketseg.demo.openModel
import pocketseg.live.Choice
import pocketseg.model.Device
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.security.MessageDigest

/** The app on Robolectric's Android: its own resources and views, drawn by Android's own graphics; no camera, no models. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], qualifiers = "w411dp-h891dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class AppTest {
    private val context get() = RuntimeEnvironment.getApplication()
    private val controllers = mutableListOf<ActivityController<*>>()

    @Before
    fun models() {
        model("portrait", specText("portrait"))
        model("parts", specText("parts", classes = 4, activation = "softmax").replace("\"person\"", "\"hair\", \"skin\", \"clothes\""))
        File(context.filesDir, "models/lonely.tflite").writeText("0000TFL3")
        openModel = { spec, _, delegate, threads -> BrightSegmenter(spec, Device(delegate, threads)) }
    }

    @After
    fun close() {
        controllers.forEach { it.close() }
        openModel = LiteRtSegmenter::open
    }

    private fun model(name: String, spec: String) {
        val folder = File(context.filesDir, "models").apply { mkdirs() }
        val bytes = "0000TFL3 $name".toByteArray()
        val hash = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
        File(folder, "$name.tflite").writeBytes(bytes)
        File(folder, "$name.json").writeText(JSONObject(spec).put("sha256", hash).toString())
    }

    private fun launch(): MainActivity = Robolectric.buildActivity(MainActivity::class.java).also { controllers += it }.setup().get()

    /** A photo whose right half is bright, as the picker gives it. */
    private fun choosePhoto(
        activity: MainActivity, width: Int = 120, height: Int = 160,
        pixels: (Int, Int) -> Int = { x, _ -> if (x < 60) 0xFF204060.toInt() else 0xFFE8D8C8.toInt() },
    ) {
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        for (y in 0 until height) for (x in 0 until width) bitmap.setPixel(x, y, pixels(x, y))
        val png = ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }.toByteArray()
        val uri = Uri.parse("content://gallery/photo.png")
        shadowOf(context.contentResolver).registerInputStreamSupplier(uri) { ByteArrayInputStream(png) }
        click(activity, R.id.photo)
        val asked = shadowOf(activity).nextStartedActivityForResult
        assertEquals("image/*", asked.intent.type)
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(uri))
    }

    private fun click(activity: Activity, id: Int) {
        activity.findViewById<View>(id).performClick()
        idle()
    }

    private fun idle() = shadowOf(Looper.getMainLooper()).idle()

    private fun draw(activity: Activity): Bitmap {
        val root = activity.window.decorView
        return Bitmap.createBitmap(root.width, root.height, Bitmap.Config.ARGB_8888).also { root.draw(Canvas(it)) }
    }

    /** The colour in the middle of the left or right half of the picture on the screen. */
    private fun colour(activity: Activity, left: Boolean): Int {
        val picture = activity.findViewById<View>(R.id.picture)
        val at = IntArray(2).also(picture::getLocationInWindow)
        val shown = minOf(picture.width, picture.height * 120 / 160)
        return draw(activity).getPixel(at[0] + picture.width / 2 + (if (left) -shown else shown) / 4, at[1] + picture.height / 2)
    }

    private fun wait(what: String, condition: () -> Boolean) = waitUntil(what) { idle(); condition() }

    private fun near(expected: Int, actual: Int) = listOf(16, 8, 0).all { Math.abs((expected shr it and 255) - (actual shr it and 255)) <= 4 }

    private val list: ListView get() = ShadowAlertDialog.getLatestAlertDialog().listView

    private fun pickFrom(position: Int) {
        shadowOf(list).performItemClick(position)
        idle()
    }

    private fun pickModel(activity: Activity, button: Int, name: String) {
        click(activity, button)
        pickFrom((0 until list.adapter.count).first { (list.adapter.getItem(it) as Choice<*>).label == name })
    }

    private fun visible(activity: Activity, id: Int) = activity.findViewById<View>(id).visibility == View.VISIBLE

    private fun text(activity: Activity, id: Int) = activity.findViewById<TextView>(id).text.toString()

    /** For the README: the layouts as Android draws them. */
    private fun screenshot(activity: Activity, name: String) {
        val folder = File(System.getProperty("screenshots") ?: return).apply { mkdirs() }
        File(folder, "$name.png").outputStream().use { draw(activity).compress(Bitmap.CompressFormat.PNG, 100, it) }
    }

    @Test
    fun aPhotoGetsTheEffectThatWasPicked() {
        val activity = launch()
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        click(activity, R.id.effect)
        pickFrom(2) // coloured background, then its colour: blue
        pickFrom(1)
        wait("blue") { near(0xFF1565C0.toInt(), colour(activity, left = true)) }
        assertTrue(near(0xFFE8D8C8.toInt(), colour(activity, left = false)))
        assertEquals("Photo, Coloured background", activity.findViewById<View>(R.id.picture).contentDescription)
    }

    @Test
    fun withoutThePermissionTheAppSaysSoAndPhotosWork() {
        val activity = launch()
        idle()
        assertTrue(visible(activity, R.id.allow))
        assertTrue("photos and videos" in text(activity, R.id.message))
        assertEquals(listOf(Manifest.permission.CAMERA), shadowOf(activity).lastRequestedPermission.requestedPermissions.toList())
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        assertFalse(visible(activity, R.id.allow))
    }

    @Test
    fun aPhoneWithoutThatCameraIsAMessage() {
        shadowOf(context).grantPermissions(Manifest.permission.CAMERA)
        val activity = launch()
        wait("the message") { "has no front camera" in text(activity, R.id.message) }
    }

    @Test
    fun settingsAndThePhotoSurviveARotationAndARestart() {
        val activity = launch()
        choosePhoto(activity)
        pickModel(activity, R.id.model, "parts")
        click(activity, R.id.effect)
        pickFrom(0)
        activity.findViewById<SeekBar>(R.id.smoothing).progress = 30
        RuntimeEnvironment.setQualifiers("+land")
        @Suppress("UNCHECKED_CAST")
        val controller = controllers[0] as ActivityController<MainActivity>
        controller.configurationChange(context.resources.configuration)
        val turned = controller.get()
        assertTrue("a new activity", turned !== activity)
        assertEquals("Effect: Mask", text(turned, R.id.effect))
        controller.visible()
        wait("the photo again, tinted") { near(0xFFB4AC64.toInt(), colour(turned, left = false)) }
        controller.pause().stop()
        assertEquals("Effect: Mask", text(launch(), R.id.effect))
    }

    @Test
    fun aModelThatCannotBeUsedIsInThePickerWithItsReason() {
        val activity = launch()
        pickModel(activity, R.id.model, "parts")
        click(activity, R.id.model)
        val first = list.adapter.count - 3 // after those of the assets
        val rows = (first until first + 3).map { list.adapter.getView(it, null, list) as ViewGroup }
        fun cell(row: Int, id: Int) = rows[row].findViewById<TextView>(id).text.toString()
        assertEquals(listOf("lonely", "✓ parts", "portrait"), rows.indices.map { cell(it, R.id.label) })
        assertEquals("lonely needs both lonely.tflite and lonely.json.", cell(0, R.id.refusal))
        assertFalse(list.adapter.isEnabled(first))
        pickModel(activity, R.id.model, "portrait")
        assertEquals("Model: portrait", text(activity, R.id.model))
    }

    @Test
    fun partsHaveALegendAndASecondModelSharesTheScreen() {
        val activity = launch()
        choosePhoto(activity)
        pickModel(activity, R.id.model, "parts")
        click(activity, R.id.effect)
        pickFrom(0)
        assertTrue(visible(activity, R.id.legend_scroll))
        val legend = activity.findViewById<ViewGroup>(R.id.legend)
        assertEquals(listOf("hair", "skin", "clothes"), (0 until legend.childCount).map { (legend.getChildAt(it) as TextView).text.toString() })
        wait("clothes in their colour, half over the photo") { near(0xFFB4AC64.toInt(), colour(activity, left = false)) }
        pickModel(activity, R.id.compare, "portrait")
        assertEquals("Compare with: portrait", text(activity, R.id.compare))
        wait("portrait's green on the right half") { near(0xFF88D091.toInt(), colour(activity, left = false)) }
    }

    @Test
    fun aModelThatDoesNotRunHereIsAMessage() {
        openModel = LiteRtSegmenter::open // the interpreter's library is for Android
        val activity = launch()
        wait("the message") { "cannot run" in text(activity, R.id.message) }
    }

    @Test
    fun theEngineerSeesTimesAndTheDevice() {
        val activity = launch()
        choosePhoto(activity)
        click(activity, R.id.expert)
        pickFrom(0)
        wait("numbers") { activity.findViewById<SeekBar>(R.id.blur).let { visible(activity, R.id.numbers) } }
        val numbers = text(activity, R.id.numbers)
        for (part in listOf("preprocessing", "inference", "postprocessing", "drawing", "p90", "frames/s", "dropped", "CPU, threads: 2", "temperature")) {
            assertTrue("$part in $numbers", part in numbers)
        }
    }

    @Test
    fun aSharedPictureCanBeReadByTheOtherApp() {
        val activity = launch()
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        click(activity, R.id.share)
        var started: Intent? = null
        wait("the chooser") { shadowOf(activity).nextStartedActivity?.also { started = it }?.action == Intent.ACTION_CHOOSER }
        @Suppress("DEPRECATION")
        val send = started!!.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!
        assertTrue(send.flags and Intent.FLAG_GRANT_READ_URI_PERMISSION != 0)
        @Suppress("DEPRECATION")
        val uri = send.getParcelableExtra<Uri>(Intent.EXTRA_STREAM)!!
        Robolectric.setupContentProvider(pocketseg.demo.SharedFiles::class.java, "${context.packageName}.files")
        val bitmap = context.contentResolver.openInputStream(uri).use { android.graphics.BitmapFactory.decodeStream(it) }
        assertEquals(listOf(120, 160), listOf(bitmap.width, bitmap.height))
        assertEquals("image/png", context.contentResolver.getType(uri))
    }

    @Test
    fun startingAndStoppingLeavesNoThreadBehind() {
        fun mine() = Thread.getAllStackTraces().keys.filter { it.isAlive && it.name in setOf("inference", "photo", "camera", "video") }
        val before = mine()
        val controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        choosePhoto(controller.get())
        repeat(20) { controller.pause().stop().restart().resume() }
        controller.pause().stop()
        assertEquals(before, mine())
        controller.destroy()
    }

    private fun all(view: View): List<View> = listOf(view) + if (view is ViewGroup) (0 until view.childCount).flatMap { all(view.getChildAt(it)) } else emptyList()

    @Test
    fun everyControlIsNamedForTalkBackAndLargeEnough() {
        for (activity in listOf(launch(), Robolectric.buildActivity(BenchmarkActivity::class.java).also { controllers += it }.setup().get())) {
            val density = activity.resources.displayMetrics.density
            val controls = all(activity.findViewById(R.id.root)).filter { it.isShown && (it is Button || it is SeekBar) }
            assertTrue(controls.size >= 2)
            for (view in controls) {
                val name = view.contentDescription ?: (view as? TextView)?.text
                assertFalse("$view has no name", name.isNullOrEmpty())
                assertTrue("$view is ${view.height / density} dp high", view.height >= 48 * density - 1)
            }
        }
    }

    @Test
    @Config(qualifiers = "w320dp-h480dp-xhdpi")
    fun largeTextOnASmallScreenIsCutNowhere() {
        RuntimeEnvironment.setFontScale(2f)
        val activity = launch()
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        for (view in all(activity.findViewById(R.id.root)).filterIsInstance<TextView>().filter { it.isShown && it.text.isNotEmpty() }) {
            assertTrue("'${view.text}' is cut", view.layout.height <= view.height - view.compoundPaddingTop - view.compoundPaddingBottom)
            for (line in 0 until view.lineCount) assertEquals("'${view.text}' is cut", 0, view.layout.getEllipsisCount(line))
        }
        assertTrue(activity.findViewById<View>(R.id.picture).height > 100)
        screenshot(activity, "large-text")
    }

    @Test
    fun theAppAsksForTheCameraAndNothingElse() {
        val info = context.packageManager.getPackageInfo(context.packageName, PackageManager.GET_PERMISSIONS)
        assertEquals(listOf(Manifest.permission.CAMERA), info.requestedPermissions!!.toList())
        assertNotNull(context.getDrawable(context.applicationInfo.icon))
    }

    @Test
    fun theBenchmarkMeasuresAndSharesItsJson() {
        File(context.filesDir, "models").listFiles()!!.filter { it.name.startsWith("parts") || it.name.startsWith("lonely") }.forEach { it.delete() }
        val activity = Robolectric.buildActivity(BenchmarkActivity::class.java).also { controllers += it }.setup().get()
        click(activity, R.id.run)
        wait("the end") { activity.findViewById<View>(R.id.share).isEnabled }
        assertTrue(text(activity, R.id.results), "portrait.tflite, CPU, threads: 1: median" in text(activity, R.id.results))
        click(activity, R.id.share)
        val json = JSONObject(File(context.cacheDir, "shared/benchmark.json").readText())
        val runs = json.getJSONArray("runs")
        assertTrue((0 until runs.length()).any { runs.getJSONObject(it).getString("model") == "portrait.tflite" })
        screenshot(activity, "benchmark")
    }

    /** With a model of the assets and what it really gave, where there is one. */
    @Test
    fun screenshots() {
        val name = Golden.models().firstOrNull() ?: return
        model("portrait", File("app/src/main/assets/models/$name.json").readText())
        openModel = { _, _, _, _ -> RecordedSegmenter(name) }
        val activity = launch()
        val photo = Golden.pixels("models/$name/photo")
        val size = Golden.size("models/$name/photo")
        choosePhoto(activity, size.width, size.height) { x, y -> photo[y * size.width + x] }
        pickModel(activity, R.id.model, "portrait")
        wait("the picture") { colour(activity, left = true) != colour(activity, left = false) }
        screenshot(activity, "main")
        click(activity, R.id.effect)
        pickFrom(0)
        click(activity, R.id.expert)
        pickFrom(0)
        wait("the numbers") { visible(activity, R.id.numbers) }
        screenshot(activity, "engineer")
    }
}
