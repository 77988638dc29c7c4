package pocketseg

import android.Manifest
import android.app.Activity
import android.content.ClipData
import android.content.Context
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ImageFormat
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import android.net.Uri
import android.os.Bundle
import android.os.Looper
import android.provider.Settings
import android.view.TextureView
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageButton
import android.widget.SeekBar
import android.widget.Switch
import android.widget.TextView
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowCameraCharacteristics
import org.robolectric.shadows.ShadowCameraManager
import org.robolectric.util.ReflectionHelpers
import pocketseg.demo.BenchmarkActivity
import pocketseg.demo.Choice
import pocketseg.demo.LicencesActivity
import pocketseg.demo.LiteRtSegmenter
import pocketseg.demo.MainActivity
import pocketseg.demo.ModelFile
import pocketseg.demo.ModelStore
import pocketseg.demo.R
import pocketseg.demo.SharedFiles
import pocketseg.demo.UiState
import pocketseg.demo.chooseCamera
import pocketseg.demo.modelChoices
import pocketseg.demo.openCamera
import pocketseg.demo.openModel
import pocketseg.demo.threadChoices
import pocketseg.model.Delegate
import pocketseg.model.Device
import pocketseg.model.Segmenter
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/** The app on Robolectric's Android: its own resources and views, drawn by Android's own graphics; no camera, no models. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], qualifiers = "w411dp-h891dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class AppTest : AppFixture() {
    private fun allowCamera() = shadowOf(context).grantPermissions(Manifest.permission.CAMERA)

    @Test
    fun aPhotoGetsTheEffectThatWasTapped() {
        val activity = launch()
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        click(activity, R.id.effect_colour)
        choice(activity, R.string.colour_blue).performClick()
        wait("blue") { near(0xFF1565C0.toInt(), colour(activity, left = true)) }
        assertTrue(near(0xFFE8D8C8.toInt(), colour(activity, left = false)))
        assertEquals("Photo, effect: Colour", activity.findViewById<View>(R.id.picture).contentDescription)
        click(activity, R.id.effect_none)
        wait("the photo as it is") { near(0xFF204060.toInt(), colour(activity, left = true)) }
    }

    private fun choice(activity: Activity, name: Int): View {
        val row = activity.findViewById<ViewGroup>(R.id.choices)
        return (0 until row.childCount).map(row::getChildAt).first { it.contentDescription == activity.getString(name) }
    }

    @Test
    fun aPictureAsBackgroundIsNeverAnotherColour() {
        val activity = launch()
        choosePhoto(activity)
        click(activity, R.id.effect_picture)
        choice(activity, R.string.backdrop_sea).performClick()
        wait("a built-in background") { colour(activity, left = true).let { !near(0xFF204060.toInt(), it) && !near(0xFF00B140.toInt(), it) } }
        wait("the sea") { colour(activity, left = true).let { (it and 255) > (it shr 16 and 255) + 20 } }
    }

    @Test
    fun anOwnBackgroundIsThereAfterARestart() {
        val controller = Robolectric.buildActivity(MainActivity::class.java).also { controllers += it }.setup()
        val activity = controller.get()
        click(activity, R.id.effect_picture)
        choice(activity, R.string.backdrop_own).performClick()
        val asked = shadowOf(activity).nextStartedActivityForResult
        offer("content://gallery/red.png", png(20, 20) { _, _ -> 0xFFD02020.toInt() })
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(Uri.parse("content://gallery/red.png")))
        wait("the copy") { activity.state.backdrop.name == "OWN" }
        controller.pause().stop().destroy()
        val next = launch()
        choosePhoto(next)
        wait("red behind the person") { near(0xFFD02020.toInt(), colour(next, left = true)) }
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
    fun aColdStartAfterARefusalForGoodOpensNoSettingsTheButtonDoes() {
        val first = launch() // asks
        controllers.removeLast().pause().stop().destroy()
        assertNotNull(shadowOf(first).lastRequestedPermission)
        while (shadowOf(first).nextStartedActivity != null) Unit // the question
        val activity = launch()
        idle()
        assertNull(shadowOf(activity).nextStartedActivity)
        assertNull("asked once", shadowOf(activity).lastRequestedPermission)
        click(activity, R.id.allow)
        assertEquals(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, shadowOf(activity).nextStartedActivity.action)
    }

    @Test
    fun aPhoneWithoutACameraIsAMessage() {
        allowCamera()
        val activity = launch()
        wait("the message") { "no camera" in text(activity, R.id.message) }
    }

    @Test
    fun aDeviceWithAPluggedInCameraAloneUsesIt() {
        val (front, back, external) = Triple(
            CameraCharacteristics.LENS_FACING_FRONT, CameraCharacteristics.LENS_FACING_BACK, CameraCharacteristics.LENS_FACING_EXTERNAL,
        )
        assertEquals("usb", chooseCamera(listOf("usb" to external), front = true))
        assertEquals("1", chooseCamera(listOf("0" to back, "1" to front), front = true))
        assertEquals("usb", chooseCamera(listOf("0" to back, "usb" to external), front = true))
        assertEquals("0", chooseCamera(listOf("0" to back), front = true))
        assertNull(chooseCamera(emptyList(), front = false))
    }

    /** Robolectric's OpenGL draws nothing: as on a phone whose driver cannot. */
    @Test
    fun withoutOpenGlTheCpuDrawsAndTheAppSaysSo() {
        fakeCamera()
        val activity = launch()
        val surface = activity.findViewById<TextureView>(R.id.surface)
        assertFalse("cut-outs and photos lie under it", surface.isOpaque)
        val texture = SurfaceTexture(0)
        surface.surfaceTextureListener!!.onSurfaceTextureAvailable(texture, 100, 100)
        wait("the message") { "The CPU draws the picture" in text(activity, R.id.message) }
        assertFalse("an error that came back is no crash", File(context.filesDir, "drawing-attempt").exists())
        wait("a frame") { near(0xFFFAFAFA.toInt(), colour(activity, left = false, 480 to 640)) }
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        assertEquals("nothing lies over it", 0f, surface.alpha, 0f)
        activity.presented(pocketseg.pixels.Size(48, 64)) { throw AssertionError("nothing records") }
        idle()
        assertEquals("what OpenGL drew is seen", 1f, surface.alpha, 0f)
        assertFalse("whoever draws lets it go", surface.surfaceTextureListener!!.onSurfaceTextureDestroyed(texture))
    }

    @Test
    fun aGraphicsDriverThatEndedTheAppIsNotTriedAgainUntilItIsChosen() {
        File(context.filesDir, "drawing-attempt").writeText("an earlier process\nOpenGL") // as a crash leaves it
        val activity = launch()
        assertTrue(text(activity, R.id.message), "graphics driver ended the app" in text(activity, R.id.message))
        assertFalse(activity.state.graphics)
        assertFalse(UiState.fromJson(activity.state.toJson()).graphics)
        click(activity, R.id.settings)
        sheetView<Switch>(R.id.graphics_switch).isChecked = true
        assertTrue(activity.state.graphics)
    }

    @Test
    fun theModelForEverydayPhotosIsTheFirst() {
        assumeTrue("no models in the assets", Golden.models().isNotEmpty())
        assertEquals("pocketnet-m-int8", ModelStore(context).list().first().name)
    }

    @Test
    fun theEdgesAreCalmedAsTheModelSaysUntilThePersonChooses() {
        model("calm", specText("calm", more = """, "smoothing": 0.25"""))
        val activity = launch()
        activity.update { copy(chosen = listOf("calm")) }
        assertEquals(0.25f, activity.state.smoothing, 1e-6f)
        activity.update { copy(look = look.copy(smoothing = 0.5f)) }
        assertEquals(0.5f, UiState.fromJson(activity.state.toJson()).smoothing, 1e-6f)
    }

    @Test
    fun aCameraThatAnotherAppTookOrThatFailsIsAMessageAndNotTheEndOfTheApp() {
        allowCamera()
        val manager = context.getSystemService(CameraManager::class.java)
        val about = ShadowCameraCharacteristics.newCameraCharacteristics()
        Shadow.extract<ShadowCameraCharacteristics>(about).set(CameraCharacteristics.LENS_FACING, CameraCharacteristics.LENS_FACING_FRONT)
        Shadow.extract<ShadowCameraManager>(manager).addCamera("0", about) // whose sizes nobody knows
        val activity = launch()
        wait("the message") { "The camera failed" in text(activity, R.id.message) }
        choosePhoto(activity)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
    }

    @Test
    fun settingsAndThePhotoSurviveARestart() {
        val activity = launch()
        choosePhoto(activity)
        pickModel(activity, "parts")
        click(activity, R.id.effect_mask)
        val controller = controllers[0]
        controller.pause().stop()
        val next = launch()
        wait("the models") { next.state.models != null }
        assertTrue(next.findViewById<View>(R.id.effect_mask).isSelected)
        assertEquals("parts", text(next, R.id.model))
    }

    @Test
    fun aRotationKeepsTheCameraTheModelsAndAnOpenSheet() {
        val cameras = fakeCamera()
        var opened = 0
        openModel = { spec, _, delegate, threads -> BrightSegmenter(spec, pocketseg.model.Device(delegate, threads)).also { opened++ } }
        val activity = launch()
        wait("a frame") { near(0xFFFAFAFA.toInt(), colour(activity, left = false, 480 to 640)) }
        click(activity, R.id.settings)
        RuntimeEnvironment.setQualifiers("+land")
        val before = opened
        @Suppress("UNCHECKED_CAST")
        (controllers[0] as org.robolectric.android.controller.ActivityController<MainActivity>).configurationChange(context.resources.configuration)
        assertTrue("the same activity", controllers[0].get() === activity && !activity.isDestroyed)
        assertTrue("the sheet is still there", sheet.isShowing)
        assertEquals(1, cameras.size)
        assertEquals(before, opened)
        wait("frames go on") { cameras[0].delivered.get().let { before -> Thread.sleep(60); cameras[0].delivered.get() > before } }
    }

    @Test
    fun aModelThatCannotBeUsedIsInThePickerWithItsReason() {
        val activity = launch()
        pickModel(activity, "parts")
        click(activity, R.id.model)
        val first = list.adapter.count - 3 // after those of the assets
        val rows = (first until first + 3).map { list.adapter.getView(it, null, list) as ViewGroup }
        fun cell(row: Int, id: Int) = rows[row].findViewById<TextView>(id).text.toString()
        assertEquals(listOf("lonely", "parts", "portrait"), rows.indices.map { cell(it, R.id.label) })
        assertEquals("lonely needs both lonely.tflite and lonely.json.", cell(0, R.id.refusal))
        assertFalse(list.adapter.isEnabled(first))
        pickModel(activity, "portrait")
        assertEquals("portrait", text(activity, R.id.model))
    }

    @Test
    fun pickersSayWhyAChoiceIsNotPossible() {
        val threads = context.threadChoices(cores = 4, Delegate.CPU).associate { it.value to it.refusal }
        assertNull(threads[4])
        assertEquals("This phone has 4 cores.", threads[6])
        assertNotNull(context.threadChoices(8, Delegate.GPU).single { it.value == 2 }.refusal)
        val files = listOf("a" to null, "b" to "b needs both files.").map { (name, problem) -> ModelFile(name, null, problem, false) { error("") } }
        assertEquals(listOf("It is already shown on the left.", "b needs both files."), context.modelChoices(files, taken = "a").map { it.refusal })
    }

    @Test
    fun leavingTheAppDoesNotWaitForTheNetwork() {
        val (entered, left) = List(2) { CountDownLatch(1) }
        val answers = LinkedBlockingQueue<Boolean>()
        openModel = { spec, _, delegate, threads ->
            object : Segmenter by BrightSegmenter(spec, Device(delegate, threads)) {
                override fun run(input: ByteBuffer, output: ByteBuffer) {
                    entered.countDown()
                    answers += left.await(20, TimeUnit.SECONDS)
                }
            }
        }
        val activity = launch()
        choosePhoto(activity)
        wait("the network") { entered.count == 0L }
        controllers[0].pause().stop()
        left.countDown()
        assertEquals("onStop came back while the network ran", true, answers.poll(60, TimeUnit.SECONDS))
    }

    @Test
    fun pickedModelsAreCopiedAndModelsAreHashedBesideTheMainThread() {
        val (copying, opening) = List(2) { ConcurrentHashMap.newKeySet<Thread>() }
        for (type in listOf("json", "tflite")) {
            val bytes = File(context.filesDir, "models/portrait.$type").readBytes()
            shadowOf(context.contentResolver).registerInputStreamSupplier(Uri.parse("content://files/another.$type")) {
                copying += Thread.currentThread()
                ByteArrayInputStream(bytes)
            }
        }
        Robolectric.setupContentProvider(Names::class.java, "files")
        val open = openModel
        openModel = { spec, bytes, delegate, threads ->
            opening += Thread.currentThread() // which has just read and hashed the bytes
            open(spec, bytes, delegate, threads)
        }
        val activity = launch()
        choosePhoto(activity)
        activity.addModels()
        var asked = shadowOf(activity).nextStartedActivityForResult
        while (!asked.intent.getBooleanExtra(Intent.EXTRA_ALLOW_MULTIPLE, false)) asked = shadowOf(activity).nextStartedActivityForResult
        val picked = ClipData.newRawUri("", Uri.parse("content://files/another.json"))
        picked.addItem(ClipData.Item(Uri.parse("content://files/another.tflite")))
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().apply { clipData = picked })
        wait("the new model") { activity.state.models!!.any { it.name == "another" && it.problem == null } }
        pickModel(activity, "another")
        wait("it is open") { opening.isNotEmpty() && copying.isNotEmpty() }
        assertFalse(Looper.getMainLooper().thread in copying + opening)
    }

    @Test
    fun anAddedModelCanBeRemovedAndAWrongOneIsRefusedWithItsReason() {
        val store = ModelStore(context)
        val spec = File(context.filesDir, "models/portrait.json").readBytes()
        shadowOf(context.contentResolver).registerInputStreamSupplier(Uri.parse("content://files/other.json")) { ByteArrayInputStream(spec) }
        shadowOf(context.contentResolver).registerInputStreamSupplier(Uri.parse("content://files/other.tflite")) { ByteArrayInputStream("0000TFL3 another".toByteArray()) }
        Robolectric.setupContentProvider(Names::class.java, "files")
        assertTrue("${store.add(listOf(Uri.parse("content://files/other.json"), Uri.parse("content://files/other.tflite")))}".contains("written for another"))
        val activity = launch()
        wait("the models") { activity.state.models != null }
        click(activity, R.id.settings)
        sheetView<View>(R.id.remove_row).performClick()
        val names = (0 until list.adapter.count).map { (list.adapter.getItem(it) as Choice<*>).label }
        assertEquals(listOf("lonely", "other", "parts", "portrait"), names)
        pickFrom(names.indexOf("other"))
        wait("the message") { text(activity, R.id.message) == "other was removed." }
        assertFalse(File(context.filesDir, "models/other.tflite").exists())
        wait("gone") { activity.state.models!!.none { it.name == "other" } }
    }

    @Test
    fun partsHaveALegendAndASecondModelSharesTheScreen() {
        val activity = launch()
        choosePhoto(activity)
        pickModel(activity, "parts")
        click(activity, R.id.effect_mask)
        assertTrue(visible(activity, R.id.legend_scroll))
        val legend = activity.findViewById<ViewGroup>(R.id.legend)
        assertEquals(listOf("hair", "skin", "clothes"), (0 until legend.childCount).map { (legend.getChildAt(it) as TextView).text.toString() })
        wait("clothes in their colour, half over the photo") { near(0xFFB4AC64.toInt(), colour(activity, left = false)) }
        click(activity, R.id.settings)
        sheetView<View>(R.id.compare_row).performClick()
        pickFrom((0 until list.adapter.count).first { (list.adapter.getItem(it) as Choice<*>).label == "portrait" })
        assertEquals("parts | portrait", text(activity, R.id.model))
        wait("portrait's green on the right half") { near(0xFF88D091.toInt(), colour(activity, left = false)) }
    }

    @Test
    fun aModelThatDoesNotRunHereIsAMessage() {
        openModel = LiteRtSegmenter::open // the interpreter's library is for Android
        val activity = launch()
        wait("the message") { "cannot run" in text(activity, R.id.message) }
    }

    @Test
    fun aGpuThatEndedTheAppIsNotTriedAgainAtTheNextStart() {
        val remembered = UiState(delegate = Delegate.GPU, chosen = listOf("portrait")).toJson()
        context.getSharedPreferences("MainActivity", Context.MODE_PRIVATE).edit().putString("state", remembered).commit()
        File(context.filesDir, "gpu-attempt").writeText("an earlier process\nportrait") // as a crash leaves it
        val tried = mutableListOf<Delegate>()
        openModel = { spec, _, delegate, threads -> BrightSegmenter(spec, pocketseg.model.Device(delegate, threads)).also { tried += delegate } }
        val activity = launch()
        wait("the model") { activity.state.devices.isNotEmpty() }
        assertEquals(listOf(Delegate.CPU), tried)
        assertTrue(text(activity, R.id.message), "ended the app with portrait" in text(activity, R.id.message))
        assertEquals(Delegate.CPU, activity.state.delegate)
        activity.update { copy(delegate = Delegate.GPU) } // the person may still want it
        wait("tried again") { tried.size == 3 && activity.state.devices.single().delegate == Delegate.GPU }
        assertFalse(File(context.filesDir, "gpu-attempt").exists())
    }

    @Test
    fun aChangeOfTheLanguageWhileTheGpuIsTriedIsNoCrash() {
        val remembered = UiState(delegate = Delegate.GPU, chosen = listOf("portrait")).toJson()
        context.getSharedPreferences("MainActivity", Context.MODE_PRIVATE).edit().putString("state", remembered).commit()
        val (entered, left) = List(2) { CountDownLatch(1) }
        openModel = { spec, _, delegate, threads ->
            if (delegate == Delegate.GPU) {
                entered.countDown()
                left.await(20, TimeUnit.SECONDS)
            }
            BrightSegmenter(spec, Device(delegate, threads))
        }
        launch()
        wait("the GPU") { entered.count == 0L }
        controllers.removeLast().pause().stop().destroy()
        val next = launch()
        assertEquals(Delegate.GPU, next.state.delegate)
        assertFalse(text(next, R.id.message), "ended the app" in text(next, R.id.message))
        left.countDown()
        wait("the GPU") { next.state.devices.singleOrNull()?.delegate == Delegate.GPU }
    }

    @Test
    fun anAddedModelStandsInThePlaceOfTheAppsOwnOfThatName() {
        assumeTrue("no models in the assets", Golden.models().isNotEmpty())
        val store = ModelStore(context)
        val before = store.list().map { it.name }
        val name = Golden.portraitModel()
        model(name, specText("mine"))
        for (type in listOf("json", "tflite")) {
            val bytes = File(context.filesDir, "models/$name.$type").readBytes()
            offer("content://files/$name.$type", bytes)
        }
        store.remove(name)
        assertNotNull("the app's own has one", store.reference(store.list().single { it.name == name }))
        Robolectric.setupContentProvider(Names::class.java, "files")
        assertNull(store.add(listOf("json", "tflite").map { Uri.parse("content://files/$name.$it") }))
        val added = store.list().single { it.name == name }
        assertEquals(listOf(true, "mine"), listOf(added.added, added.spec!!.name))
        assertEquals("in its place", before, store.list().map { it.name })
        assertNull("another model than the one in Python", store.reference(added))
        val activity = launch()
        activity.removeModel(name)
        wait("the app's own is back") { activity.state.models!!.single { it.name == name }.let { !it.added && it.problem == null } }
    }

    class Moody : Names() {
        override fun query(uri: Uri, columns: Array<String>?, selection: String?, arguments: Array<String>?, order: String?) =
            throw IllegalStateException("provider gone")
    }

    @Test
    fun aStorageProviderThatThrowsIsAMessageWhateverItIsAskedFor() {
        val gone = listOf("a.json", "photo.png").map { Uri.parse("content://files/$it") }
        for (uri in gone) shadowOf(context.contentResolver).registerInputStreamSupplier(uri) { throw IllegalStateException("provider gone") }
        val store = ModelStore(context)
        Robolectric.setupContentProvider(Names::class.java, "files")
        assertEquals("a.json cannot be read: provider gone", store.add(gone))
        Robolectric.setupContentProvider(Moody::class.java, "moody")
        assertEquals("content://moody/a.json cannot be read: provider gone", store.add(listOf(Uri.parse("content://moody/a.json"))))
        val activity = launch(Intent(Intent.ACTION_VIEW).setDataAndType(gone[1], "image/png").setClass(context, MainActivity::class.java))
        wait("the photo's message") { text(activity, R.id.message) == "The photo cannot be shown: provider gone" }
        activity.pickBackground()
        val asked = shadowOf(activity).nextStartedActivityForResult
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(gone[1]))
        wait("the background's message") { text(activity, R.id.message) == "The background cannot be used: provider gone" }
    }

    @Test
    fun aResultThatCannotBeWrittenIsAMessage() {
        File(context.cacheDir, "shared/benchmark.json").mkdirs() // where the file would be
        val saved = Bundle().apply { putString("result", """{"runs": []}""") }
        val activity = Robolectric.buildActivity(BenchmarkActivity::class.java).also { controllers += it }.setup(saved).get()
        click(activity, R.id.share)
        assertTrue(text(activity, R.id.progress), "It cannot be saved" in text(activity, R.id.progress))
    }

    @Test
    fun theEngineerSeesTimesAndTheDevice() {
        val activity = launch()
        choosePhoto(activity)
        click(activity, R.id.settings)
        sheetView<Switch>(R.id.numbers_switch).isChecked = true
        wait("numbers") { visible(activity, R.id.numbers) }
        val numbers = text(activity, R.id.numbers)
        for (part in listOf("preprocessing", "inference", "postprocessing", "drawing", "p90", "frames/s", "dropped", "CPU, threads: 2", "temperature")) {
            assertTrue("$part in $numbers", part in numbers)
        }
    }

    @Test
    fun slidersShowTheirValue() {
        val activity = launch()
        val row = activity.findViewById<View>(R.id.blur_row)
        row.findViewById<SeekBar>(R.id.bar).let { bar ->
            ReflectionHelpers.callInstanceMethod<Boolean>(
                bar, "setProgressInternal", ReflectionHelpers.ClassParameter.from(Int::class.javaPrimitiveType, 75),
                ReflectionHelpers.ClassParameter.from(Boolean::class.javaPrimitiveType, true), ReflectionHelpers.ClassParameter.from(Boolean::class.javaPrimitiveType, false),
            )
        }
        assertEquals("75 %", row.findViewById<TextView>(R.id.value).text.toString())
        assertEquals(0.06f, activity.state.look.blur, 1e-6f)
    }

    private fun chosenShare(activity: Activity): Uri {
        var started: Intent? = null
        wait("the chooser") { shadowOf(activity).nextStartedActivity?.also { started = it }?.action == Intent.ACTION_CHOOSER }
        @Suppress("DEPRECATION")
        val send = started!!.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!
        assertTrue(send.flags and Intent.FLAG_GRANT_READ_URI_PERMISSION != 0)
        @Suppress("DEPRECATION")
        return send.getParcelableExtra(Intent.EXTRA_STREAM)!!
    }

    private fun shared(uri: Uri): Bitmap {
        Robolectric.setupContentProvider(SharedFiles::class.java, "${context.packageName}.files")
        return context.contentResolver.openInputStream(uri).use { BitmapFactory.decodeStream(it) }
    }

    @Test
    fun aSharedPictureHasAllOfThePhotosPixelsAndCanBeReadByTheOtherApp() {
        val activity = launch()
        choosePhoto(activity, 1200, 1800) { x, _ -> if (x < 600) 0xFF204060.toInt() else 0xFFE8D8C8.toInt() }
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        click(activity, R.id.effect_colour)
        click(activity, R.id.share)
        val uri = chosenShare(activity)
        val bitmap = shared(uri)
        assertEquals(listOf(1200, 1800), listOf(bitmap.width, bitmap.height))
        assertEquals("image/jpeg", context.contentResolver.getType(uri))
        assertTrue(near(0xFF00B140.toInt(), bitmap.getPixel(200, 900)) && near(0xFFE8D8C8.toInt(), bitmap.getPixel(1000, 900)))
    }

    @Test
    fun aCutOutIsAPngThatIsTransparentWhereNobodyIs() {
        val activity = launch()
        choosePhoto(activity)
        click(activity, R.id.effect_cutout)
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        click(activity, R.id.share)
        val uri = chosenShare(activity)
        assertEquals("image/png", context.contentResolver.getType(uri))
        val bitmap = shared(uri)
        assertEquals(0, bitmap.getPixel(10, 80) ushr 24)
        assertEquals(0xFFE8D8C8.toInt(), bitmap.getPixel(110, 80))
    }

    @Test
    fun savingOnAndroid9WritesThePictureThatWasShownToTheChosenPlace() {
        onAndroid9 {
            val activity = launch()
            choosePhoto(activity)
            wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
            click(activity, R.id.shutter)
            val asked = placeAsked(activity)
            val out = ByteArrayOutputStream()
            val place = Uri.parse("content://documents/1")
            shadowOf(context.contentResolver).registerOutputStream(place, out)
            controllers[0].pause().stop().restart() // the result comes after onStart, before the first picture
            shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(place))
            wait("the message") { text(activity, R.id.message) == "Saved" }
            val bitmap = BitmapFactory.decodeByteArray(out.toByteArray(), 0, out.size())
            assertEquals(listOf(120, 160), listOf(bitmap.width, bitmap.height))
        }
    }

    @Test
    fun savingIntoAPlaceThatThrowsIsAMessage() {
        onAndroid9 {
            val activity = launch()
            choosePhoto(activity)
            wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
            click(activity, R.id.shutter)
            val asked = placeAsked(activity)
            val place = Uri.parse("content://documents/2")
            shadowOf(context.contentResolver).registerOutputStreamSupplier(place) { throw IllegalStateException("provider gone") }
            shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(place))
            wait("the message") { "provider gone" in text(activity, R.id.message) }
        }
    }

    @Test
    fun savingWithoutAPictureSaysSoAndTheMessageGoes() {
        val activity = launch()
        click(activity, R.id.shutter)
        wait("the message") { text(activity, R.id.message) == "There is no picture yet." }
        shadowOf(android.os.Looper.getMainLooper()).idleFor(7, TimeUnit.SECONDS)
        assertEquals("Without the camera you can still use photos and videos.", text(activity, R.id.message))
    }

    @Test
    fun theScreenStaysOnWithTheCameraAndNotWithAPhoto() {
        fakeCamera()
        val activity = launch()
        assertTrue(activity.findViewById<View>(R.id.picture).keepScreenOn)
        choosePhoto(activity)
        assertFalse(activity.findViewById<View>(R.id.picture).keepScreenOn)
    }

    @Test
    fun aPhotoFromAnotherAppIsShown() {
        offer("content://mail/photo.png", png(120, 160) { x, _ -> if (x < 60) 0xFF204060.toInt() else 0xFFE8D8C8.toInt() })
        val send = Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, Uri.parse("content://mail/photo.png"))
        val activity = launch(send.setClass(context, MainActivity::class.java))
        wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
        assertEquals("Save the picture", activity.findViewById<View>(R.id.shutter).contentDescription)
    }

    @Test
    fun aTapOnThePictureHidesEveryControlAndAnotherBringsThemBack() {
        val activity = launch()
        click(activity, R.id.picture)
        assertFalse(visible(activity, R.id.panel) || visible(activity, R.id.top))
        click(activity, R.id.picture)
        assertTrue(visible(activity, R.id.panel) && visible(activity, R.id.top))
    }

    @Test
    fun startingAndStoppingLeavesNoThreadBehind() {
        fun mine() = Thread.getAllStackTraces().keys.filter { it.isAlive && it.name in setOf("inference", "photo", "video", "files") }
        val before = mine()
        val controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        choosePhoto(controller.get())
        repeat(20) { controller.pause().stop().restart().resume() }
        controller.pause().stop().destroy()
        wait("the threads' end") { (mine() - before.toSet()).isEmpty() }
    }

    @Test
    fun everyControlIsNamedForTalkBackAndLargeEnough() {
        val main = launch()
        choosePhoto(main)
        for (effect in listOf(R.id.effect_blur, R.id.effect_picture, R.id.effect_colour)) {
            click(main, effect)
            large(main.findViewById(R.id.root), 12)
        }
        click(main, R.id.settings)
        large(sheetView(R.id.sheet), 10)
        large(start<BenchmarkActivity>().findViewById(R.id.root), 3)
    }

    private fun large(root: View, atLeast: Int) {
        val density = root.resources.displayMetrics.density
        val controls = all(root).filter { it.isShown && (it is Button || it is ImageButton || it is SeekBar) }
        assertTrue("${controls.size} controls", controls.size >= atLeast)
        for (view in controls) {
            val name = view.contentDescription ?: (view as? TextView)?.text
            assertFalse("$view has no name", name.isNullOrEmpty())
            assertTrue("$view is ${view.height / density} dp high", view.height >= 48 * density - 1)
            assertTrue("$view is ${view.width / density} dp wide", view.width >= 48 * density - 1)
        }
    }

    /** No text is cut, and no control reaches over the edge of the screen, in any language. */
    @Test
    @Config(qualifiers = "w320dp-h480dp-xhdpi")
    fun largeTextOnASmallScreenIsCutNowhere() {
        RuntimeEnvironment.setFontScale(2f)
        for (language in listOf("en", "de", "es", "zh")) {
            RuntimeEnvironment.setQualifiers("+$language")
            val activity = launch()
            choosePhoto(activity)
            wait("the photo") { near(0xFFE8D8C8.toInt(), colour(activity, left = false)) }
            whole(activity.findViewById(R.id.root), language)
            assertTrue("$language: ${activity.findViewById<View>(R.id.picture).height}", activity.findViewById<View>(R.id.picture).height > 200)
            if (language == "en") screenshot(activity, "large-text")
            click(activity, R.id.settings)
            whole(sheetView(R.id.sheet), language)
            sheet.dismiss()
        }
    }

    private fun whole(root: View, language: String) {
        for (view in all(root).filter { it.isShown }) {
            if (view is TextView && view.text.isNotEmpty()) {
                assertTrue("$language: '${view.text}' is cut", view.layout.height <= view.height - view.compoundPaddingTop - view.compoundPaddingBottom)
                for (line in 0 until view.lineCount) {
                    assertEquals("$language: '${view.text}' is cut", 0, view.layout.getEllipsisCount(line))
                    assertTrue("$language: '${view.text}' is broken in a word", line == view.lineCount - 1 || view.text[view.layout.getLineEnd(line) - 1].let { it == ' ' || it == '\n' || it == '-' || it > '\u2e80' })
                }
            }
            if (view is Button || view is ImageButton) {
                val at = IntArray(2).also(view::getLocationInWindow)
                assertTrue("$language: ${view.contentDescription ?: (view as TextView).text} at ${at[0]}", at[0] >= 0 && at[0] + view.width <= root.rootView.width)
            }
        }
    }

    @Test
    fun theAppAsksForTheCameraAndNothingElse() {
        val info = context.packageManager.getPackageInfo(context.packageName, PackageManager.GET_PERMISSIONS)
        assertEquals(listOf(Manifest.permission.CAMERA), info.requestedPermissions!!.toList())
        assertNotNull(context.getDrawable(context.applicationInfo.icon))
    }

    @Test
    fun everyModelHasItsLicenceOnAScreen() {
        val activity = start<LicencesActivity>()
        wait("the text") { "portrait: for tests" in text(activity, R.id.text) }
        assertTrue("TensorFlow Lite" in text(activity, R.id.text))
    }

    @Test
    fun theBenchmarkMeasuresAndSharesItsJsonAndOneBrokenModelDoesNotStopIt() {
        openModel = { spec, _, delegate, threads ->
            if (spec.name == "parts") error("delegate lost") else BrightSegmenter(spec, pocketseg.model.Device(delegate, threads))
        }
        val activity = start<BenchmarkActivity>()
        click(activity, R.id.run)
        assertTrue("a dark screen would end it", activity.window.decorView.keepScreenOn)
        wait("the end") { activity.findViewById<View>(R.id.share).isEnabled }
        assertFalse(activity.window.decorView.keepScreenOn)
        assertTrue(text(activity, R.id.results), "portrait.tflite, CPU, threads: 1: median" in text(activity, R.id.results))
        assertTrue(text(activity, R.id.results), "portrait.tflite, GPU, threads: 1: median" in text(activity, R.id.results))
        click(activity, R.id.share)
        val json = JSONObject(File(context.cacheDir, "shared/benchmark.json").readText())
        val runs = json.getJSONArray("runs")
        assertTrue((0 until runs.length()).any { runs.getJSONObject(it).getString("model") == "portrait.tflite" })
        assertTrue("parts.tflite" in json.getJSONArray("failures").toString())
        assertTrue("portrait.tflite" in json.getJSONArray("gpu_agreement").toString())
        val accuracy = json.getJSONArray("accuracy")
        val compared = (0 until accuracy.length()).map(accuracy::getJSONObject)
        assertEquals("what the assets have a reference of", Golden.models().map { "$it.tflite" }.toSet(), compared.map { it.getString("model") }.toSet())
        assertTrue("a model that sees brightness is none of those", compared.none { it.getBoolean("trusted") })
    }
}
